"""One lab per test worker, with a load balancer that every test finds whole."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import pytest

from bascule.lab import faults, life, network, traffic
from bascule.lab.control_plane import ControlPlane, Port
from bascule.lab.observe import observe
from bascule.lab.processes import running, start
from bascule.lab.readiness import wait_for_instances, wait_for_programs
from bascule.lab.roster import roster
from bascule.lab.router import announcements
from bascule.lab.shape import Shape
from bascule.lab.state import Lab
from bascule.lab.topology import INSTANCE_PORT, UPLINK, Role
from bascule.lab.traffic import Target
from bascule.lab.waiting import wait_until
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol
from bascule.native import DIRECTORY
from bascule.wire.public_v2_views import LoadBalancerView

SERVING = 3


@dataclass(frozen=True, slots=True)
class Balancer:
    """A load balancer with a TCP and a UDP service over three instances."""

    lab: Lab
    api: ControlPlane
    id: UUID
    vip: IPAddress

    @property
    def web(self) -> Target:
        """The TCP service."""
        return Target(Protocol.TCP, self.vip, 80)

    @property
    def who(self) -> Target:
        """The UDP service."""
        return Target(Protocol.UDP, self.vip, 53)

    def describe(self) -> LoadBalancerView:
        """The load balancer as the API shows it."""
        return self.api.load_balancer(self.id)

    def wait_until_answered_by(self, names: set[str], timeout: float = 20) -> None:
        """Until exactly these instances answer both services, and nothing fails."""

        def answered() -> bool:
            web, who = (traffic.send(self.lab, target, 64, timeout=1) for target in (self.web, self.who))
            return set(web.by_instance) == names == set(who.by_instance) and not web.failures + who.failures

        wait_until(answered, what=f"Answers of {', '.join(sorted(names))}", timeout=timeout)


def instances(lab: Lab, count: int) -> set[str]:
    """The names of the instances that serve when the pool has that size."""
    return {host.name for host in lab.topology.of_role(Role.INSTANCE)[:count]}


def lacking(*modules: str, shape: Shape | None = None) -> str:
    """Why no lab can be built here, "" when one can."""
    try:
        life.check_machine(shape or Shape())
    except SystemFailure as failure:
        return failure.sentence
    for module in modules:
        if importlib.util.find_spec(module) is None:
            return f"the module {module} is missing"
    for name in ("lab_passage.bpf.o", *(("xdp_balancer.bpf.o", "tc_hypervisor.bpf.o") if modules else ())):
        if not (DIRECTORY / name).exists():
            return f"{name} is not built: run `make native`"
    return ""


@pytest.fixture
def bare_name() -> Iterator[str]:
    """The name of a lab that does not exist; whatever a test leaves of it is taken away."""
    if reason := lacking():
        pytest.skip(reason)
    name = f"bare{os.getpid()}"
    yield name
    life.down(name)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A whole lab, built once."""
    yield from build_lab(f"t{os.getpid()}", Shape())


def build_lab(name: str, shape: Shape) -> Iterator[Lab]:
    """Build a lab with every program, skip with the reason when a part is missing, take it away in the end."""
    programs = ("api", "orchestrator", "lb_agent", "hypervisor_agent")
    if reason := lacking(*(f"bascule.programs.{program}" for program in programs), shape=shape):
        pytest.skip(reason)
    yield life.up(name, shape)
    life.down(name)
    assert life.leftovers(name) == []


@pytest.fixture(scope="session")
def shared(lab: Lab) -> Iterator[Mapping[int, Balancer]]:
    """The session's load balancers, by family; use `balancer` or `either`, which are whole when the test begins."""
    with ControlPlane(lab) as api:
        yield {family: create_balancer(lab, api, f"shared{family}", family) for family in lab.shape.families}


@pytest.fixture
def new_balancer(lab: Lab) -> Iterator[Callable[[str, int], Balancer]]:
    """Creates more load balancers, by name and family; the test deletes them itself."""
    with ControlPlane(lab) as api:
        yield lambda name, family: create_balancer(lab, api, name, family)


@pytest.fixture
def balancer(shared: Mapping[int, Balancer]) -> Iterator[Balancer]:
    """A load balancer of IPv4 in good health; what the test broke is repaired."""
    repair(shared[4])
    yield shared[4]
    repair(shared[4])


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def either(request: pytest.FixtureRequest, shared: Mapping[int, Balancer]) -> Iterator[Balancer]:
    """As `balancer`, of each family in turn."""
    found = shared[request.param]
    repair(found)
    yield found
    repair(found)


@pytest.fixture
def both(shared: Mapping[int, Balancer]) -> Iterator[list[Balancer]]:
    """As `balancer`, of both families at once."""
    for found in shared.values():
        repair(found)
    yield list(shared.values())
    for found in shared.values():
        repair(found)


def create_balancer(lab: Lab, api: ControlPlane, name: str, family: int = 4, *, timeout: float = 20) -> Balancer:
    """Create a load balancer with both services, and wait until they are answered."""
    created = api.create_load_balancer(name, family)
    for service, protocol, port in (("web", Protocol.TCP, 80), ("who", Protocol.UDP, 53)):
        wanted = Port(name=service, protocol=protocol, port=port, target_port=INSTANCE_PORT)
        api.add_service(created, wanted)
    balancer = Balancer(lab, api, created.id, created.ip)
    balancer.wait_until_answered_by(instances(lab, SERVING), timeout)
    return balancer


def repair(balancer: Balancer) -> None:
    """Bring everything back that a test may have broken."""
    lab = balancer.lab
    for host in lab.topology.of_role(Role.LB_NODE):
        if not network.link_is_up(lab.name, host.name, UPLINK):
            faults.plug_in_cable(lab, host.name)
    dead = [program for program in roster(lab) if running(lab, program.title) is None]
    for program in dead:
        start(lab, program)
    wait_for_programs(lab, dead)
    wait_for_instances(lab)
    for name in instances(lab, SERVING):
        faults.set_health(lab, name, healthy=True)
    if balancer.api.pool_sizes() != {SERVING}:
        balancer.api.scale(SERVING, drain_deadline=0)
    balancer.wait_until_answered_by(instances(lab, SERVING))
    nodes = tuple(host.name for host in lab.topology.of_role(Role.LB_NODE))
    wait_until(lambda: announcements(lab).get(balancer.vip) == nodes, what="Announcements of both LB nodes")
    assert all(host.well for host in observe(lab).hosts)

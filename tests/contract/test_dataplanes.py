"""What every data plane promises, over the fake, and over the real drivers in a network namespace.

IPVS needs a kernel that has it: `make test-ipvs` runs its cases in one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from bascule.dataplanes.fake import FakeDataPlane
from bascule.dataplanes.interface import DataPlane
from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.model.data_planes import CAPABILITIES, DataPlaneName
from bascule.model.errors import SystemFailure
from bascule.model.reports import DataPlaneReport
from bascule.model.strategies import EVERYWHERE, Strategy
from bascule.model.virtual_services import ForwardingMethod, VirtualService
from tests.bpf.balancer_bench import FAMILIES, Bench, Family, reason_to_skip
from tests.ipvs import bench as ipvs
from tests.ipvs import keepalived_bench as keepalived
from tests.namespaces import Hosts


class Stage(Protocol):
    """A machine with a data plane, whose process can be started again, and the addresses it balances there."""

    family: Family

    def restart(self) -> None:
        """Let the process die, and start another on the same machine."""

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """Enforce the services, holding the VIP or not."""

    def observe(self) -> DataPlaneReport:
        """What the data plane reports."""

    def damage(self) -> None:
        """Change the kernel behind the data plane's back."""

    @property
    def driver(self) -> DataPlane:
        """The data plane itself."""


class FakeStage:
    """The fake's kernel is the fake."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.driver = FakeDataPlane()
        self.driver.start()

    def restart(self) -> None:
        """Nothing but the flag changes."""
        self.driver.close()
        self.driver.start()

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """In this thread."""
        return self.driver.enforce({self.family.vip} if held else set(), services)

    def observe(self) -> DataPlaneReport:
        """In this thread."""
        return self.driver.observe()

    def damage(self) -> None:
        """Lose an address."""
        self.driver.addresses.clear()


class XdpStage:
    """A namespace with one interface."""

    def __init__(self, bench: Bench, family: Family) -> None:
        self._bench, self.family = bench, family
        self.driver: XdpDataPlane = bench.driver()

    def restart(self) -> None:
        """A new driver on the same pinned maps."""
        self.driver.close()
        self.driver = self._bench.driver()

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """In the namespace."""
        return self._bench.inside(lambda: self.driver.enforce({self.family.vip} if held else set(), services))

    def observe(self) -> DataPlaneReport:
        """In the namespace."""
        return self._bench.observe(self.driver)

    def damage(self) -> None:
        """Lose an address."""
        self._bench.ip(f"addr del {self.family.vip} dev lo")


class NodeStage(ABC):
    """A host that makes a namespace or an interface for the VIP itself."""

    def __init__(self, node: ipvs.Node | keepalived.Node, family: Family) -> None:
        self._node, self.family = node, family

    @property
    def driver(self) -> DataPlane:
        """The data plane itself."""
        return self._node.driver

    def restart(self) -> None:
        """A new driver on the same kernel; what else runs goes on."""
        self._node.restart()

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """In the namespace."""
        return self._node.enforce(*services, held=held)

    def observe(self) -> DataPlaneReport:
        """In the namespace."""
        return self._node.observe()

    @abstractmethod
    def damage(self) -> None:
        """Lose an address."""


class IpvsStage(NodeStage):
    """A namespace without any interface: the VIP has its own."""

    def __init__(self, hosts: Hosts, family: Family) -> None:
        super().__init__(ipvs.Node(hosts, vip=family.vip), family)
        self._hosts = hosts

    def damage(self) -> None:
        """Lose an address."""
        self._hosts.ip("lb", f"addr del {self.family.vip} dev bascule-ipvs")


class KeepalivedStage(NodeStage):
    """A namespace for the node, in which the data plane makes one for the load balancer."""

    def __init__(self, hosts: Hosts, folder: Path, family: Family) -> None:
        self._keepalived = keepalived.Node(hosts, "lb", folder, family.vip)
        super().__init__(self._keepalived, family)

    def damage(self) -> None:
        """Lose an address."""
        self._keepalived.ip(f"addr del {self.family.vip}/{self.family.vip.max_prefixlen} dev lo")


def cases() -> Iterator[object]:
    """Every data plane with every family that it carries. The real ones need something of the machine."""
    needs: dict[str, tuple[str, list[pytest.MarkDecorator]]] = {
        "fake": ("", []),
        "xdp": (reason_to_skip(), [pytest.mark.root]),
        "ipvs": (ipvs.reason_to_skip(), [pytest.mark.root, pytest.mark.guest]),
        # Eight seconds each in the guest; test_keepalived is the short way to hear of most of it.
        "keepalived": (keepalived.reason_to_skip(), [pytest.mark.root, pytest.mark.guest, pytest.mark.slow]),
    }
    for name, (missing, marks) in needs.items():
        carried = FakeDataPlane().capabilities if name == "fake" else CAPABILITIES[DataPlaneName(name)]
        for family in FAMILIES:
            if family.version in carried.families:
                skip = pytest.mark.skipif(bool(missing), reason=missing)
                yield pytest.param((name, family), marks=[*marks, skip], id=f"{name}-{family}")


@pytest.fixture(params=cases())
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    name, family = request.param
    if name == "fake":
        yield FakeStage(family)
    elif name == "ipvs":
        with Hosts("lb") as hosts:
            yield IpvsStage(hosts, family)
    elif name == "keepalived":
        with Hosts("lb") as hosts, keepalived.cleaned(hosts, tmp_path):
            yield KeepalivedStage(hosts, tmp_path, family)
    else:
        with Bench(tmp_path) as bench:
            yield XdpStage(bench, family)


def web(stage: Stage) -> VirtualService:
    """A service of the stage's VIP."""
    return stage.family.service(stage.family.backend(1), stage.family.backend(2, 3))


def other(stage: Stage) -> VirtualService:
    """Another one of the same VIP."""
    return stage.family.service(stage.family.backend(2), port=81)


def test_what_is_desired_is_there(stage: Stage) -> None:
    """After `enforce` the report shows the address ready, and every service with its backends and weights."""
    stage.enforce(web(stage), other(stage))
    report = stage.observe()
    assert report.ready == {stage.family.vip}
    assert {found.key: {(each.address, each.weight) for each in found.backends} for found in report.services} == {
        wanted.key: {(each.address, each.weight) for each in wanted.backends} for wanted in (web(stage), other(stage))
    }


def test_enforcing_the_same_again_says_nothing(stage: Stage) -> None:
    """A pass that finds everything as it should be has no sentence to tell."""
    assert stage.enforce(web(stage))
    assert stage.enforce(web(stage)) == ()


def test_what_is_not_named_is_removed(stage: Stage) -> None:
    """A service or address that is no longer desired is gone after `enforce`."""
    stage.enforce(web(stage), other(stage))
    assert stage.enforce(other(stage))
    assert [found.key for found in stage.observe().services] == [other(stage).key]
    stage.enforce(held=False)
    assert stage.observe() == DataPlaneReport(counters=stage.observe().counters)


def test_an_address_is_held_without_a_service(stage: Stage) -> None:
    """An address alone is ready too: its traffic is refused."""
    stage.enforce()
    assert stage.observe().ready == {stage.family.vip}


def test_a_service_without_backends_is_there(stage: Stage) -> None:
    """It refuses its traffic, which is a state like any other."""
    stage.enforce(stage.family.service())
    (found,) = stage.observe().services
    assert found.backends == ()
    assert stage.observe().ready == {stage.family.vip}


def test_backends_come_and_go(stage: Stage) -> None:
    """The report follows a change of backends and of weights."""
    stage.enforce(stage.family.service(stage.family.backend(1)))
    stage.enforce(stage.family.service(stage.family.backend(2), stage.family.backend(3, 0)))
    (found,) = stage.observe().services
    assert [(each.address, each.weight) for each in found.backends] == [
        (stage.family.backend(2).address, 1),
        (stage.family.backend(3).address, 0),
    ]


def test_damage_is_seen_and_repaired(stage: Stage) -> None:
    """What somebody else changed is reported as it is, then repaired with a sentence."""
    stage.enforce(web(stage))
    stage.damage()
    assert stage.observe().ready == frozenset()
    (sentence,) = stage.enforce(web(stage))
    assert str(stage.family.vip) in sentence
    assert stage.observe().ready == {stage.family.vip}


def test_a_new_process_takes_over(stage: Stage) -> None:
    """Services outlive the process; the next one finds them and removes what is not desired any more."""
    stage.enforce(web(stage), other(stage))
    stage.restart()
    assert {found.key for found in stage.observe().services} == {web(stage).key, other(stage).key}
    stage.enforce(web(stage))
    assert [found.key for found in stage.observe().services] == [web(stage).key]


def test_it_must_be_started_first(stage: Stage) -> None:
    """`enforce` before `start` fails with a sentence."""
    stage.driver.close()
    with pytest.raises(SystemFailure, match="start"):
        stage.enforce(web(stage))


def test_every_strategy_is_carried_or_refused(stage: Stage) -> None:
    """A data plane carries the strategies that it names, at least the common ones, and refuses others by name."""
    carried = stage.driver.capabilities.strategies
    assert carried >= EVERYWHERE
    services = {
        strategy: stage.family.service(
            stage.family.backend(1), stage.family.backend(2), strategy=strategy, port=1000 + number
        )
        for number, strategy in enumerate(Strategy)
    }
    wanted = [services[strategy] for strategy in Strategy if strategy in carried]
    stage.enforce(*wanted)
    assert {service.key for service in stage.observe().services} == {service.key for service in wanted}
    assert stage.observe().ready == {stage.family.vip}
    assert stage.enforce(*wanted) == ()
    for strategy in set(Strategy) - carried:
        with pytest.raises(SystemFailure, match=f"{stage.driver.name} has no strategy {strategy},"):
            stage.enforce(services[strategy])


def test_every_method_is_carried_or_refused(stage: Stage) -> None:
    """A data plane carries the forwarding methods that it names, and refuses others by name, leaving all as it is."""
    stage.enforce(web(stage))
    for method in ForwardingMethod:
        wanted = stage.family.service(replace(stage.family.backend(1), method=method))
        if method in stage.driver.capabilities.methods:
            stage.enforce(wanted)
            assert stage.observe().ready == {stage.family.vip}
            stage.enforce(web(stage))
        else:
            with pytest.raises(SystemFailure, match=f"{stage.driver.name} has no forwarding method {method}"):
                stage.enforce(wanted)
            assert stage.enforce(web(stage)) == ()


def test_a_key_is_for_one_service(stage: Stage) -> None:
    """Two services that a packet could not tell apart are refused."""
    with pytest.raises(SystemFailure, match="configured twice"):
        stage.enforce(web(stage), stage.family.service(stage.family.backend(3)))


def test_a_family_is_carried_or_refused(stage: Stage) -> None:
    """A data plane carries the families that it names, both at once, and refuses the other by name."""
    services = [family.service(family.backend(1)) for family in FAMILIES]
    if stage.driver.capabilities.families >= {4, 6}:
        stage.enforce(*services)
        assert stage.observe().ready == {service.key.address for service in services}
        return
    with pytest.raises(SystemFailure, match=f"{stage.driver.name} carries no IPv6"):
        stage.enforce(*services)

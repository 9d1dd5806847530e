"""The whole system, as `bascule lab` builds it, on a kernel with IPVS and without nftables' family ip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bascule.doctor.diagnosis import diagnose
from bascule.doctor.facts import Choice, Facts
from bascule.doctor.findings import Finding, Level
from bascule.doctor.gather import gather_system
from bascule.lab import faults, passage, traffic
from bascule.lab.control_plane import ControlPlane
from bascule.lab.held import hold, lost
from bascule.lab.network import namespace
from bascule.lab.router import announcements
from bascule.lab.shape import Shape, usual_forwarding
from bascule.lab.waiting import wait_until
from bascule.model.data_planes import DataPlaneName
from bascule.system.commands import run
from bascule.system.namespaces import call_in
from tests.ipvs.keepalived_bench import reason_to_skip
from tests.lab.conftest import SERVING, Balancer, build_lab, create_balancer, instances

# An emulated CPU starts a dozen processes in most of a minute.
pytestmark = [pytest.mark.lab, pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(600)]
_REQUESTS = 150
_PATIENCE = 90.0


@pytest.fixture(scope="module")
def balancers(request: pytest.FixtureRequest) -> Iterator[list[Balancer]]:
    """Load balancers of a lab whose LB nodes run the data plane asked for: one of each family that it carries."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    dataplane: DataPlaneName = request.param
    # A busy emulated CPU answers health checks late.
    shape = Shape(dataplane=dataplane, forwarding=usual_forwarding(dataplane), check_interval=5)
    for lab in build_lab(f"i{os.getpid()}", shape):
        with ControlPlane(lab) as api:
            yield [create_balancer(lab, api, f"b{family}", family, timeout=_PATIENCE) for family in shape.families]


_OVER_EITHER = pytest.mark.parametrize(
    "balancers", [DataPlaneName.IPVS, DataPlaneName.KEEPALIVED], indirect=True, scope="module"
)
_OVER_IPVS = pytest.mark.parametrize("balancers", [DataPlaneName.IPVS], indirect=True, scope="module")


def _on(balancer: Balancer, host: str, *command: str) -> str:
    return call_in(namespace(balancer.lab.name, host), lambda: run(command))


def _table(balancer: Balancer, node: str) -> str:
    """IPVS's table that carries the load balancer on a node: keepalived's is in a namespace of its own."""
    lab = balancer.lab
    keepalived = lab.shape.dataplane is DataPlaneName.KEEPALIVED
    where = f"bascule-{lab.name}-{node}-{balancer.vip}" if keepalived else namespace(lab.name, node)
    return call_in(where, lambda: run(["ipvsadm", "-Ln"]))


def _serves(balancer: Balancer) -> None:
    """Every instance answers TCP and UDP, and sees the client's own address."""
    for target in (balancer.web, balancer.who):
        tally = traffic.send(balancer.lab, target, _REQUESTS, concurrency=16)
        assert not tally.failures
        assert set(tally.by_instance) == instances(balancer.lab, SERVING)
        assert not tally.disguised


@_OVER_EITHER
def test_replies_pass_no_lb_node(balancers: list[Balancer]) -> None:
    """Clients are answered straight by the instances, to which the kernel's IPVS on both LB nodes sends them."""
    for balancer in balancers:
        before = passage.read(balancer.lab)
        _serves(balancer)
        passed = passage.read(balancer.lab).since(before)
        assert passed.direct
        assert passed.tunnelled_from_lb_nodes[0] >= 2 * _REQUESTS
        for node in ("lb1", "lb2"):
            assert f"TCP  {balancer.web.host}:80 mh" in _table(balancer, node)


@_OVER_IPVS
def test_flushed_translation_comes_back(balancers: list[Balancer]) -> None:
    """What somebody flushed of iptables on a hypervisor is there again within its agent's next passes."""
    for program in ("iptables-legacy", "ip6tables-legacy"):
        for table in ("nat", "mangle"):
            _on(balancers[0], "hv1", program, "-t", table, "-F")
    for balancer in balancers:
        balancer.wait_until_answered_by(instances(balancer.lab, SERVING), _PATIENCE)


@_OVER_IPVS
def test_connections_outlive_an_lb_node(balancers: list[Balancer]) -> None:
    """When an LB node dies the other one carries its open connections, each to the instance that it had, and new ones;
    revived, it carries its part again.
    """
    lab = balancers[0].lab
    with ExitStack() as stack:
        held = [stack.enter_context(hold(lab, balancer.web, 16)) for balancer in balancers]
        faults.kill_node(lab, "lb1")
        wait_until(lambda: _routes(balancers) == {("lb2",)}, what="The routes' move")
        assert [lost(connections) for connections in held] == [[]] * len(balancers)
        for balancer in balancers:
            _serves(balancer)
    faults.revive_node(lab, "lb1")
    wait_until(lambda: _routes(balancers) == {("lb1", "lb2")}, what="Both routes", timeout=_PATIENCE)
    for balancer in balancers:
        balancer.wait_until_answered_by(instances(lab, SERVING), timeout=_PATIENCE)


def _routes(balancers: list[Balancer]) -> set[tuple[str, ...]]:
    """The LB nodes that the load balancers' addresses lead to."""
    found = announcements(balancers[0].lab)
    return {found.get(balancer.vip, ()) for balancer in balancers}


def test_the_doctor_knows_this_kernel() -> None:
    """The doctor says that IPVS runs here, that iptables translates, and which module XDP's refusals miss."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    findings = {each.subject: each for each in diagnose(Facts(system=gather_system()), Choice())}
    assert _verdict(findings["data plane ipvs"]) == (Level.OK, True)
    assert _verdict(findings["forwarding netfilter"]) == (Level.OK, True)
    assert "by iptables-legacy" in findings["forwarding netfilter"].sentence
    assert _verdict(findings["data plane xdp"]) == (Level.PROBLEM, False)
    assert "family inet" in findings["data plane xdp"].sentence


def _verdict(finding: Finding) -> tuple[Level, bool]:
    return finding.level, "can run" in finding.sentence

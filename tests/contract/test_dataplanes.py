"""What every data plane promises, over the fake, and over the real drivers in a network namespace.

IPVS needs a kernel that has it: `make test-ipvs` runs its cases in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from bascule.dataplanes.fake import FakeDataPlane
from bascule.dataplanes.interface import DataPlane
from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.model.errors import SystemFailure
from bascule.model.reports import DataPlaneReport
from bascule.model.strategies import EVERYWHERE, Strategy
from bascule.model.virtual_services import ForwardingMethod, VirtualService
from tests.bpf.balancer_bench import VIP, Bench, backend, reason_to_skip, service
from tests.ipvs import bench as ipvs
from tests.ipvs import keepalived_bench as keepalived

WEB = service(backend(1), backend(2, 3))
OTHER = service(backend(2), port=81)


class Stage(Protocol):
    """A machine with a data plane, whose process can be started again."""

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

    def __init__(self) -> None:
        self.driver = FakeDataPlane()
        self.driver.start()

    def restart(self) -> None:
        """Nothing but the flag changes."""
        self.driver.close()
        self.driver.start()

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """In this thread."""
        return self.driver.enforce({VIP} if held else set(), services)

    def observe(self) -> DataPlaneReport:
        """In this thread."""
        return self.driver.observe()

    def damage(self) -> None:
        """Lose an address."""
        self.driver.addresses.clear()


class XdpStage:
    """A namespace with one interface."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.driver: XdpDataPlane = bench.driver()

    def restart(self) -> None:
        """A new driver on the same pinned maps."""
        self.driver.close()
        self.driver = self._bench.driver()

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """In the namespace."""
        return self._bench.inside(lambda: self.driver.enforce({VIP} if held else set(), services))

    def observe(self) -> DataPlaneReport:
        """In the namespace."""
        return self._bench.observe(self.driver)

    def damage(self) -> None:
        """Lose an address."""
        self._bench.ip(f"addr del {VIP}/32 dev lo")


class IpvsStage:
    """A namespace without any interface: the VIP has its own."""

    def __init__(self, hosts: ipvs.Hosts) -> None:
        self._hosts = hosts
        self._node = ipvs.Node(hosts)

    @property
    def driver(self) -> DataPlane:
        """The data plane itself."""
        return self._node.driver

    def restart(self) -> None:
        """A new driver on the same kernel."""
        self._node.driver = self._node.started()

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """In the namespace."""
        return self._node.enforce(*services, held=held)

    def observe(self) -> DataPlaneReport:
        """In the namespace."""
        return self._node.observe()

    def damage(self) -> None:
        """Lose an address."""
        self._hosts.ip("lb", f"addr del {VIP}/32 dev bascule-ipvs")


class KeepalivedStage:
    """A namespace for the node, in which the data plane makes one for the load balancer."""

    def __init__(self, hosts: ipvs.Hosts, folder: Path) -> None:
        self._node = keepalived.Node(hosts, "lb", folder)

    @property
    def driver(self) -> DataPlane:
        """The data plane itself."""
        return self._node.driver

    def restart(self) -> None:
        """A new driver; keepalived goes on."""
        self._node.driver = self._node.started()

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """In the namespace."""
        return self._node.enforce(*services, held=held)

    def observe(self) -> DataPlaneReport:
        """In the namespace."""
        return self._node.observe()

    def damage(self) -> None:
        """Lose an address."""
        self._node.ip(f"addr del {VIP}/32 dev lo")


def real(name: str, missing: str, *marks: pytest.MarkDecorator) -> object:
    """A driver that needs something of the machine."""
    return pytest.param(name, marks=[pytest.mark.root, pytest.mark.skipif(bool(missing), reason=missing), *marks])


@pytest.fixture(
    params=[
        "fake",
        real("xdp", reason_to_skip()),
        real("ipvs", ipvs.reason_to_skip(), pytest.mark.guest),
        real("keepalived", keepalived.reason_to_skip(), pytest.mark.guest),
    ]
)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    if request.param == "fake":
        yield FakeStage()
    elif request.param == "ipvs":
        with ipvs.Hosts("lb") as hosts:
            yield IpvsStage(hosts)
    elif request.param == "keepalived":
        with ipvs.Hosts("lb") as hosts, keepalived.cleaned(hosts, tmp_path):
            yield KeepalivedStage(hosts, tmp_path)
    else:
        with Bench(tmp_path) as bench:
            yield XdpStage(bench)


def test_what_is_desired_is_there(stage: Stage) -> None:
    """After `enforce` the report shows the address ready, and every service with its backends and weights."""
    stage.enforce(WEB, OTHER)
    report = stage.observe()
    assert report.ready == {VIP}
    assert {found.key: {(each.address, each.weight) for each in found.backends} for found in report.services} == {
        wanted.key: {(each.address, each.weight) for each in wanted.backends} for wanted in (WEB, OTHER)
    }


def test_enforcing_the_same_again_says_nothing(stage: Stage) -> None:
    """A pass that finds everything as it should be has no sentence to tell."""
    assert stage.enforce(WEB)
    assert stage.enforce(WEB) == ()


def test_what_is_not_named_is_removed(stage: Stage) -> None:
    """A service or address that is no longer desired is gone after `enforce`."""
    stage.enforce(WEB, OTHER)
    assert stage.enforce(OTHER)
    assert [found.key for found in stage.observe().services] == [OTHER.key]
    stage.enforce(held=False)
    assert stage.observe() == DataPlaneReport(counters=stage.observe().counters)


def test_an_address_is_held_without_a_service(stage: Stage) -> None:
    """An address alone is ready too: its traffic is refused."""
    stage.enforce()
    assert stage.observe().ready == {VIP}


def test_a_service_without_backends_is_there(stage: Stage) -> None:
    """It refuses its traffic, which is a state like any other."""
    stage.enforce(service())
    (found,) = stage.observe().services
    assert found.backends == ()
    assert stage.observe().ready == {VIP}


def test_backends_come_and_go(stage: Stage) -> None:
    """The report follows a change of backends and of weights."""
    stage.enforce(service(backend(1)))
    stage.enforce(service(backend(2), backend(3, 0)))
    (found,) = stage.observe().services
    assert [(each.address, each.weight) for each in found.backends] == [
        (backend(2).address, 1),
        (backend(3).address, 0),
    ]


def test_damage_is_seen_and_repaired(stage: Stage) -> None:
    """What somebody else changed is reported as it is, then repaired with a sentence."""
    stage.enforce(WEB)
    stage.damage()
    assert stage.observe().ready == frozenset()
    (sentence,) = stage.enforce(WEB)
    assert str(VIP) in sentence
    assert stage.observe().ready == {VIP}


def test_a_new_process_takes_over(stage: Stage) -> None:
    """Services outlive the process; the next one finds them and removes what is not desired any more."""
    stage.enforce(WEB, OTHER)
    stage.restart()
    assert {found.key for found in stage.observe().services} == {WEB.key, OTHER.key}
    stage.enforce(WEB)
    assert [found.key for found in stage.observe().services] == [WEB.key]


def test_it_must_be_started_first(stage: Stage) -> None:
    """`enforce` before `start` fails with a sentence."""
    stage.driver.close()
    with pytest.raises(SystemFailure, match="start"):
        stage.enforce(WEB)


@pytest.mark.parametrize("strategy", Strategy)
def test_a_strategy_is_carried_or_refused(stage: Stage, strategy: Strategy) -> None:
    """A data plane carries the strategies that it names, at least the common ones, and refuses others by name."""
    assert stage.driver.capabilities.strategies >= EVERYWHERE
    wanted = service(backend(1), backend(2), strategy=strategy)
    if strategy in stage.driver.capabilities.strategies:
        stage.enforce(wanted)
        assert stage.observe().ready == {VIP}
        assert stage.enforce(wanted) == ()
        return
    with pytest.raises(SystemFailure, match=f"{stage.driver.name} has no strategy {strategy},"):
        stage.enforce(wanted)


@pytest.mark.parametrize("method", ForwardingMethod)
def test_a_method_is_carried_or_refused(stage: Stage, method: ForwardingMethod) -> None:
    """A data plane carries the forwarding methods that it names, and refuses others by name, leaving all as it is."""
    wanted = service(replace(backend(1), method=method))
    if method in stage.driver.capabilities.methods:
        stage.enforce(wanted)
        assert stage.observe().ready == {VIP}
        return
    stage.enforce(WEB)
    with pytest.raises(SystemFailure, match=f"{stage.driver.name} has no forwarding method {method}"):
        stage.enforce(wanted)
    assert stage.enforce(WEB) == ()


def test_a_key_is_for_one_service(stage: Stage) -> None:
    """Two services that a packet could not tell apart are refused."""
    with pytest.raises(SystemFailure, match="configured twice"):
        stage.enforce(WEB, service(backend(3)))

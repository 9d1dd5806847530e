"""What every forwarding promises, over the fake, and over the real drivers in network namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from bascule import native
from bascule.forwarding.ebpf import layout, pins
from bascule.forwarding.ebpf.driver import EbpfForwarding
from bascule.forwarding.fake import FakeForwarding
from bascule.forwarding.interface import Forwarding
from bascule.forwarding.netfilter.driver import NetfilterForwarding
from bascule.forwarding.netfilter.legacy import listing as iptables
from bascule.forwarding.netfilter.legacy.kernel import LegacyTable
from bascule.forwarding.netfilter.legacy.render import TRANSLATE, translation
from bascule.forwarding.netfilter.listing import read
from bascule.forwarding.netfilter.render import mark, where
from bascule.model.addresses import IPNetwork
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.reports import ForwardingReport
from bascule.model.strategies import Protocol as Layer4
from bascule.system.bpf import BpfMap, BpfObject
from bascule.system.bpffs import is_bpffs
from bascule.system.commands import run
from bascule.system.namespaces import call_in
from tests.bpf.hypervisor_network import without_iptables

SOURCES = (IPv4Network("10.99.0.0/16"), IPv6Network("2001:db8:99::/48"))
OBJECT = native.DIRECTORY / "tc_hypervisor.bpf.o"


class Cast:
    """A VIP, two instances that can be reached and one that cannot, and a rule for each instance."""

    def __init__(self, vip: str, instances: str) -> None:
        self.vip = ip_address(vip)
        self.first, self.second, self.absent = (ip_address(f"{instances}{last}") for last in (11, 12, 13))
        self.web = ForwardingRule(self.vip, Layer4.TCP, 80, self.first, 8080)
        self.dns = ForwardingRule(self.vip, Layer4.UDP, 53, self.second, 5353)
        self.lost = ForwardingRule(self.vip, Layer4.TCP, 80, self.absent, 8080)


IPV4, IPV6 = Cast("203.0.113.10", "10.128.0."), Cast("2001:db8:113::10", "2001:db8:128::")


class Stage(Protocol):
    """One forwarding and the kernel it works on."""

    def new(self) -> Forwarding:
        """As a process that has just begun would have it: not started."""

    def start(self, forwarding: Forwarding) -> None:
        """Call it where it lives."""

    def enforce(self, forwarding: Forwarding, *rules: ForwardingRule) -> tuple[str, ...]:
        """Call it where it lives."""

    def observe(self, forwarding: Forwarding) -> ForwardingReport:
        """Call it where it lives."""

    def held(self) -> frozenset[ForwardingRule]:
        """The rules that the kernel has."""

    def delete(self, rule: ForwardingRule) -> None:
        """Delete a rule by a foreign hand."""


class FakeStage:
    """The fake is its own kernel: one object for every process."""

    def __init__(self) -> None:
        self.fake = FakeForwarding()
        self.fake.unreachable = {IPV4.absent, IPV6.absent}

    def new(self) -> Forwarding:
        return self.fake

    def start(self, forwarding: Forwarding) -> None:
        forwarding.start()

    def enforce(self, forwarding: Forwarding, *rules: ForwardingRule) -> tuple[str, ...]:
        return forwarding.enforce(frozenset(rules))

    def observe(self, forwarding: Forwarding) -> ForwardingReport:
        return forwarding.observe()

    def held(self) -> frozenset[ForwardingRule]:
        return frozenset(self.fake.rules)

    def delete(self, rule: ForwardingRule) -> None:
        self.fake.rules.discard(rule)


class RealStage(ABC):
    """A hypervisor with an uplink and two instances' interfaces, whose far ends nobody uses."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.namespace = namespace
        self.bpf_dir = folder / "bpf"

    def build(self) -> None:
        run(["ip", "netns", "add", self.namespace])
        for name in ("uplink0", "tap1", "tap2"):
            self.ip(f"link add {name} type veth peer name {name}-far")
            self.ip(f"link set {name} up")
            self.ip(f"link set {name}-far up")
        for family, cast in (("-4", IPV4), ("-6", IPV6)):
            for name, route in (("uplink0", "default"), ("tap1", str(cast.first)), ("tap2", str(cast.second))):
                self.ip(f"{family} route add {route} dev {name}")
        call_in(self.namespace, _let_forward)

    def ip(self, words: str) -> None:
        run(["ip", "-n", self.namespace, *words.split()])

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)
        if self.bpf_dir.exists() and is_bpffs(self.bpf_dir):
            run(["umount", str(self.bpf_dir)])

    @abstractmethod
    def new(self, sources: Sequence[IPNetwork] = SOURCES) -> Forwarding:
        """As a process that has just begun would have it: not started."""

    @abstractmethod
    def held(self) -> frozenset[ForwardingRule]:
        """The rules that the kernel has."""

    @abstractmethod
    def delete(self, rule: ForwardingRule) -> None:
        """Delete a rule by a foreign hand."""

    def start(self, forwarding: Forwarding) -> None:
        call_in(self.namespace, forwarding.start)

    def enforce(self, forwarding: Forwarding, *rules: ForwardingRule) -> tuple[str, ...]:
        return call_in(self.namespace, lambda: forwarding.enforce(frozenset(rules)))

    def observe(self, forwarding: Forwarding) -> ForwardingReport:
        return call_in(self.namespace, forwarding.observe)


class EbpfStage(RealStage):
    """The driver that translates in tc."""

    def new(self, sources: Sequence[IPNetwork] = SOURCES) -> Forwarding:
        return EbpfForwarding(uplinks=("uplink0",), tunnel_sources=sources, tunnel_mtu=1480, bpf_dir=self.bpf_dir)

    def held(self) -> frozenset[ForwardingRule]:
        rules = []
        for version in layout.VERSIONS:
            with self.pinned_rules(version) as kernel:
                rules += [layout.rule(key, value) for key, value in kernel.items().items()]
        return frozenset(rule for rule in rules if rule is not None)

    def delete(self, rule: ForwardingRule) -> None:
        (key,) = layout.rules([rule])
        with self.pinned_rules(rule.address.version) as kernel:
            assert kernel.delete(key)

    @contextmanager
    def pinned_rules(self, version: int) -> Iterator[BpfMap]:
        """The map as another process would open it."""
        other = BpfObject(OBJECT, pin_maps_under=pins.folder(self.bpf_dir))
        yield other.map(layout.map_of("rules", version))
        other.close()


class NetfilterStage(RealStage):
    """The driver that translates by nftables."""

    def new(self, sources: Sequence[IPNetwork] = SOURCES) -> Forwarding:
        return NetfilterForwarding(uplinks=("uplink0",), tunnel_sources=sources, tunnel_mtu=1480, bpf_dir=self.bpf_dir)

    def held(self) -> frozenset[ForwardingRule]:
        tables = (self.nft(f"-j list table {family} bascule_forwarding") for family in ("ip", "ip6"))
        return frozenset[ForwardingRule]().union(*(read(table).rules for table in tables))

    def delete(self, rule: ForwardingRule) -> None:
        key = f"{mark(rule.instance):#x} . {rule.address} . {rule.protocol} . {rule.port}"
        self.nft(f"delete element {where(rule.address.version)} targets {{ {key} }}")

    def nft(self, words: str) -> str:
        return call_in(self.namespace, lambda: run(["nft", *words.split()]))


_IPTABLES = {4: "iptables-legacy", 6: "ip6tables-legacy"}


class IptablesStage(RealStage):
    """The same driver on a kernel whose nftables cannot translate."""

    def new(self, sources: Sequence[IPNetwork] = SOURCES) -> Forwarding:
        return NetfilterForwarding(
            uplinks=("uplink0",), tunnel_sources=sources, tunnel_mtu=1480, bpf_dir=self.bpf_dir, kinds=(LegacyTable,)
        )

    def held(self) -> frozenset[ForwardingRule]:
        saved = (call_in(self.namespace, partial(run, [f"{name}-save", "--counters"])) for name in _IPTABLES.values())
        return frozenset[ForwardingRule]().union(*(iptables.read(each).rules() for each in saved))

    def delete(self, rule: ForwardingRule) -> None:
        program = _IPTABLES[rule.address.version]
        words = f"{program} -t nat -D {TRANSLATE.name} {translation(rule)}".split()
        call_in(self.namespace, lambda: run(words))


STAGES: dict[str, type[RealStage]] = {"ebpf": EbpfStage, "netfilter": NetfilterStage, "iptables": IptablesStage}


def _let_forward() -> None:
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    settings = Path("/proc/sys/net/ipv4")
    (settings / "ip_forward").write_text("1")
    (settings / "conf/all/rp_filter").write_text("0")
    for interface in ("tap1", "tap2"):
        (settings / "conf" / interface / "rp_filter").write_text("0")


def _reason_to_skip() -> str:
    if os.geteuid() != 0:
        return "needs root for network namespaces and BPF"
    if not OBJECT.exists():
        return "needs tc_hypervisor.bpf.o: run `make native`"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


@pytest.fixture(params=["fake", *(pytest.param(name, marks=pytest.mark.root) for name in STAGES)])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Each forwarding on a kernel of its own."""
    if request.param == "fake":
        yield FakeStage()
        return
    with _built(request.param, tmp_path) as built:
        yield built


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.root) for name in STAGES])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealStage]:
    """Each forwarding but the fake."""
    with _built(request.param, tmp_path) as built:
        yield built


@contextmanager
def _built(name: str, folder: Path) -> Iterator[RealStage]:
    if reason := _reason_to_skip() or (without_iptables() if name == "iptables" else ""):
        pytest.skip(reason)
    built = STAGES[name](f"t{uuid4().hex[:8]}", folder)
    try:
        built.build()
        yield built
    finally:
        built.remove()


@pytest.fixture
def forwarding(stage: Stage) -> Iterator[Forwarding]:
    """A started forwarding."""
    started = stage.new()
    stage.start(started)
    yield started
    started.close()


@pytest.fixture(params=[IPV4, IPV6], ids=["IPv4", "IPv6"])
def cast(request: pytest.FixtureRequest) -> Cast:
    """Of one family, then of the other."""
    found: Cast = request.param
    return found


def test_holds_what_it_is_told(stage: Stage, forwarding: Forwarding, cast: Cast) -> None:
    """After enforcing, the kernel has exactly the rules, and their instances are reported in place."""
    assert stage.enforce(forwarding, cast.web, cast.dns)

    assert stage.held() == {cast.web, cast.dns}
    assert stage.observe(forwarding).instances == {cast.first, cast.second}


def test_says_nothing_when_nothing_differs(stage: Stage, forwarding: Forwarding, cast: Cast) -> None:
    """Enforcing what is already in place repairs nothing."""
    stage.enforce(forwarding, cast.web, cast.dns)

    assert stage.enforce(forwarding, cast.web, cast.dns) == ()


def test_removes_what_is_not_named(stage: Stage, forwarding: Forwarding, cast: Cast) -> None:
    """A rule that is no longer named is removed, and an instance without rules is no longer in place."""
    stage.enforce(forwarding, cast.web, cast.dns)

    assert stage.enforce(forwarding, cast.web)

    assert stage.held() == {cast.web}
    assert stage.observe(forwarding).instances == {cast.first}
    stage.enforce(forwarding)
    assert stage.held() == frozenset()
    assert stage.observe(forwarding).instances == frozenset()


def test_changes_a_target_port(stage: Stage, forwarding: Forwarding, cast: Cast) -> None:
    """A rule with another target port takes the old one's place."""
    stage.enforce(forwarding, cast.web)
    moved = replace(cast.web, target_port=9090)

    stage.enforce(forwarding, moved)

    assert stage.held() == {moved}


def test_repairs_what_a_foreign_hand_deleted(stage: Stage, forwarding: Forwarding, cast: Cast) -> None:
    """A rule deleted behind its back is written again, with a sentence that names it."""
    stage.enforce(forwarding, cast.web, cast.dns)
    stage.delete(cast.dns)

    repairs = stage.enforce(forwarding, cast.web, cast.dns)

    assert len(repairs) == 1
    assert str(cast.dns.address) in repairs[0]
    assert stage.held() == {cast.web, cast.dns}


def test_holds_up_nobody_for_an_absent_instance(stage: Stage, forwarding: Forwarding, cast: Cast) -> None:
    """An instance that cannot be reached is said once and is not in place; the others are served."""
    repairs = stage.enforce(forwarding, cast.web, cast.lost)

    assert any(str(cast.absent) in repair for repair in repairs)
    assert stage.observe(forwarding).instances == {cast.first}
    assert stage.enforce(forwarding, cast.web, cast.lost) == ()


def test_goes_on_after_close(stage: Stage, forwarding: Forwarding, cast: Cast) -> None:
    """What one process put in place outlives it, and the next one takes it over without rewriting a rule."""
    stage.enforce(forwarding, cast.web)
    forwarding.close()
    assert stage.held() == {cast.web}

    following = stage.new()
    stage.start(following)
    repairs = stage.enforce(following, cast.web)

    assert not [repair for repair in repairs if "ule" in repair]
    assert stage.observe(following).instances == {cast.first}
    following.close()


def test_wants_to_be_started(stage: Stage, cast: Cast) -> None:
    """Enforcing before start fails with a sentence that says so."""
    with pytest.raises(SystemFailure, match="start"):
        stage.enforce(stage.new(), cast.web)


def test_serves_both_families_at_once(stage: Stage, forwarding: Forwarding) -> None:
    """Rules of IPv4 and IPv6 stand beside each other, and go one without the other."""
    stage.enforce(forwarding, IPV4.web, IPV6.web, IPV6.dns)
    assert stage.held() == {IPV4.web, IPV6.web, IPV6.dns}
    assert stage.observe(forwarding).instances == {IPV4.first, IPV6.first, IPV6.second}

    stage.enforce(forwarding, IPV6.dns)

    assert stage.held() == {IPV6.dns}
    assert stage.observe(forwarding).instances == {IPV6.second}


def test_a_family_without_tunnels_is_not_served(real: RealStage) -> None:
    """Without a prefix of IPv6 to accept tunnels from, its instances are out of place and the setting is named."""
    first = real.new()
    real.start(first)
    real.enforce(first, IPV4.web, IPV6.web)
    first.close()
    forwarding = real.new(SOURCES[:1])
    real.start(forwarding)

    repairs = real.enforce(forwarding, IPV4.web, IPV6.web)

    assert any("BASCULE_TUNNEL_SOURCES" in repair for repair in repairs)
    assert real.observe(forwarding).instances == {IPV4.first}
    assert real.enforce(forwarding, IPV4.web, IPV6.web) == ()
    forwarding.close()


def test_a_host_that_does_not_forward_ipv6_is_named(real: RealStage) -> None:
    """All is put in place, and the sysctl to change is named."""
    call_in(real.namespace, lambda: Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("0"))
    forwarding = real.new()
    real.start(forwarding)

    with pytest.raises(SystemFailure, match=r"net\.ipv6\.conf\.all\.forwarding=1"):
        real.enforce(forwarding, IPV6.web)

    assert real.held() == {IPV6.web}
    forwarding.close()

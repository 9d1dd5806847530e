"""What every forwarding promises, over the fake, and over the real drivers in network namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
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
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.reports import ForwardingReport
from bascule.model.strategies import Protocol as Layer4
from bascule.system.bpf import BpfMap, BpfObject
from bascule.system.bpffs import is_bpffs
from bascule.system.commands import run
from bascule.system.namespaces import call_in
from tests.bpf.hypervisor_network import without_iptables

SOURCES = (IPv4Network("10.99.0.0/16"),)
OBJECT = native.DIRECTORY / "tc_hypervisor.bpf.o"
VIP = IPv4Address("203.0.113.10")
FIRST, SECOND, ABSENT = (IPv4Address(f"10.128.0.{last}") for last in (11, 12, 13))
WEB = ForwardingRule(VIP, Layer4.TCP, 80, FIRST, 8080)
DNS = ForwardingRule(VIP, Layer4.UDP, 53, SECOND, 5353)
LOST = ForwardingRule(VIP, Layer4.TCP, 80, ABSENT, 8080)


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
        self.fake.unreachable = {ABSENT}

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
        for name, route in (("uplink0", "default"), ("tap1", str(FIRST)), ("tap2", str(SECOND))):
            self.ip(f"link add {name} type veth peer name {name}-far")
            self.ip(f"link set {name} up")
            self.ip(f"link set {name}-far up")
            self.ip(f"route add {route} dev {name}")
        call_in(self.namespace, _let_forward)

    def ip(self, words: str) -> None:
        run(["ip", "-n", self.namespace, *words.split()])

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)
        if self.bpf_dir.exists() and is_bpffs(self.bpf_dir):
            run(["umount", str(self.bpf_dir)])

    @abstractmethod
    def new(self) -> Forwarding:
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

    def new(self) -> Forwarding:
        return EbpfForwarding(uplinks=("uplink0",), tunnel_sources=SOURCES, tunnel_mtu=1480, bpf_dir=self.bpf_dir)

    def held(self) -> frozenset[ForwardingRule]:
        with self.pinned_rules() as kernel:
            rules = [layout.rule(key, value) for key, value in kernel.items().items()]
        return frozenset(rule for rule in rules if rule is not None)

    def delete(self, rule: ForwardingRule) -> None:
        (key,) = layout.rules([rule])
        with self.pinned_rules() as kernel:
            assert kernel.delete(key)

    @contextmanager
    def pinned_rules(self) -> Iterator[BpfMap]:
        """The map as another process would open it."""
        other = BpfObject(OBJECT, pin_maps_under=pins.folder(self.bpf_dir))
        yield other.map("rules")
        other.close()


class NetfilterStage(RealStage):
    """The driver that translates by nftables."""

    def new(self) -> Forwarding:
        return NetfilterForwarding(uplinks=("uplink0",), tunnel_sources=SOURCES, tunnel_mtu=1480)

    def held(self) -> frozenset[ForwardingRule]:
        return read(self.nft("-j list table ip bascule_forwarding")).rules

    def delete(self, rule: ForwardingRule) -> None:
        key = f"{int(rule.instance):#x} . {rule.address} . {rule.protocol} . {rule.port}"
        self.nft(f"delete element ip bascule_forwarding targets {{ {key} }}")

    def nft(self, words: str) -> str:
        return call_in(self.namespace, lambda: run(["nft", *words.split()]))


class IptablesStage(RealStage):
    """The same driver on a kernel whose nftables cannot translate."""

    def new(self) -> Forwarding:
        return NetfilterForwarding(uplinks=("uplink0",), tunnel_sources=SOURCES, tunnel_mtu=1480, tables=(LegacyTable,))

    def held(self) -> frozenset[ForwardingRule]:
        return iptables.read(call_in(self.namespace, lambda: run(["iptables-legacy-save", "--counters"]))).rules()

    def delete(self, rule: ForwardingRule) -> None:
        words = f"iptables-legacy -t nat -D {TRANSLATE.name} {translation(rule)}".split()
        call_in(self.namespace, lambda: run(words))


STAGES: dict[str, type[RealStage]] = {"ebpf": EbpfStage, "netfilter": NetfilterStage, "iptables": IptablesStage}


def _let_forward() -> None:
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
    if reason := _reason_to_skip() or (without_iptables() if request.param == "iptables" else ""):
        pytest.skip(reason)
    built = STAGES[request.param](f"t{uuid4().hex[:8]}", tmp_path)
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


def test_holds_what_it_is_told(stage: Stage, forwarding: Forwarding) -> None:
    """After enforcing, the kernel has exactly the rules, and their instances are reported in place."""
    assert stage.enforce(forwarding, WEB, DNS)

    assert stage.held() == {WEB, DNS}
    assert stage.observe(forwarding).instances == {FIRST, SECOND}


def test_says_nothing_when_nothing_differs(stage: Stage, forwarding: Forwarding) -> None:
    """Enforcing what is already in place repairs nothing."""
    stage.enforce(forwarding, WEB, DNS)

    assert stage.enforce(forwarding, WEB, DNS) == ()


def test_removes_what_is_not_named(stage: Stage, forwarding: Forwarding) -> None:
    """A rule that is no longer named is removed, and an instance without rules is no longer in place."""
    stage.enforce(forwarding, WEB, DNS)

    assert stage.enforce(forwarding, WEB)

    assert stage.held() == {WEB}
    assert stage.observe(forwarding).instances == {FIRST}
    stage.enforce(forwarding)
    assert stage.held() == frozenset()
    assert stage.observe(forwarding).instances == frozenset()


def test_changes_a_target_port(stage: Stage, forwarding: Forwarding) -> None:
    """A rule with another target port takes the old one's place."""
    stage.enforce(forwarding, WEB)
    moved = replace(WEB, target_port=9090)

    stage.enforce(forwarding, moved)

    assert stage.held() == {moved}


def test_repairs_what_a_foreign_hand_deleted(stage: Stage, forwarding: Forwarding) -> None:
    """A rule deleted behind its back is written again, with a sentence that names it."""
    stage.enforce(forwarding, WEB, DNS)
    stage.delete(DNS)

    repairs = stage.enforce(forwarding, WEB, DNS)

    assert len(repairs) == 1
    assert str(DNS.address) in repairs[0]
    assert stage.held() == {WEB, DNS}


def test_holds_up_nobody_for_an_absent_instance(stage: Stage, forwarding: Forwarding) -> None:
    """An instance that cannot be reached is said once and is not in place; the others are served."""
    repairs = stage.enforce(forwarding, WEB, LOST)

    assert any(str(ABSENT) in repair for repair in repairs)
    assert stage.observe(forwarding).instances == {FIRST}
    assert stage.enforce(forwarding, WEB, LOST) == ()


def test_goes_on_after_close(stage: Stage, forwarding: Forwarding) -> None:
    """What one process put in place outlives it, and the next one takes it over without rewriting a rule."""
    stage.enforce(forwarding, WEB)
    forwarding.close()
    assert stage.held() == {WEB}

    following = stage.new()
    stage.start(following)
    repairs = stage.enforce(following, WEB)

    assert not [repair for repair in repairs if "ule" in repair]
    assert stage.observe(following).instances == {FIRST}
    following.close()


def test_wants_to_be_started(stage: Stage) -> None:
    """Enforcing before start fails with a sentence that says so."""
    with pytest.raises(SystemFailure, match="start"):
        stage.enforce(stage.new(), WEB)

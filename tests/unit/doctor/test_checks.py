"""The doctor's checks, as tables: facts in, findings out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from bascule.doctor.capabilities import require_known
from bascule.doctor.diagnosis import diagnose, problems
from bascule.doctor.facts import (
    Assignment,
    Choice,
    Facts,
    Interface,
    NetworkFacts,
    Path,
    Presence,
    Role,
    SystemFacts,
)
from bascule.doctor.findings import Finding, Level
from bascule.model.errors import InvalidInput

PEER, PEER6 = IPv4Address("192.0.2.20"), IPv6Address("2001:db8::20")
VERSIONS: dict[str, tuple[int, ...] | None] = {"bird": (2, 0, 12), "nft": (1, 0, 6), "keepalived": (2, 2, 7)}
SYSTEM = SystemFacts(
    kernel="6.1", versions=VERSIONS, modules={"ip_vs": Presence.READY, "ipip": Presence.READY}, jit=True
)
STRICT_ARP = {"arp_ignore": 1, "arp_announce": 2}
UPLINK = Interface(name="eth0", native_xdp=True, sysctls=STRICT_ARP)
TAP = Interface(name="tap1", kind="tun")
NETWORK = NetworkFacts(interfaces={"eth0": UPLINK, "tap1": TAP}, sysctls={"net.ipv4.ip_forward": 1})
BOTH = Choice(interfaces=("eth0",), uplinks=("eth0",))
LB_NODE, HYPERVISOR = (replace(BOTH, roles=frozenset({role})) for role in Role)
IPVS = replace(LB_NODE, dataplane="ipvs", tunnel_sources=(IPv4Network("10.99.0.0/16"),))
HYPERVISOR6 = replace(HYPERVISOR, tunnel_sources=(IPv6Network("2001:db8:99::/48"),))


def system(**changes: Any) -> Facts:
    """Healthy but for these facts of the system."""
    return Facts(system=replace(SYSTEM, **changes), network=NETWORK)


def network(**changes: Any) -> Facts:
    """Healthy but for these facts of the network."""
    return Facts(system=SYSTEM, network=replace(NETWORK, **changes))


def interfaces(*changed: Interface) -> Facts:
    """Healthy but for these interfaces."""
    return network(interfaces={**NETWORK.interfaces, **{one.name: one for one in changed}})


def found(facts: Facts, choice: Choice, subject: str) -> Finding:
    """The one finding about a subject."""
    (finding,) = (finding for finding in diagnose(facts, choice) if finding.subject == subject)
    return finding


def test_a_healthy_machine_has_nothing_but_ok() -> None:
    """With everything in place every finding is ok, and none names a fix."""
    findings = diagnose(Facts(system=SYSTEM, network=NETWORK), BOTH)
    assert {finding.level for finding in findings} == {Level.OK}
    assert not any(finding.fix for finding in findings)


@pytest.mark.parametrize(
    ("facts", "choice", "subject", "level", "fix"),
    [
        (system(libbpf=False), LB_NODE, "data plane xdp", Level.PROBLEM, "apt-get install libbpf1"),
        (system(libbpf=False), HYPERVISOR, "forwarding ebpf", Level.PROBLEM, "apt-get install libbpf1"),
        (system(xdp_programs=False), LB_NODE, "data plane xdp", Level.PROBLEM, ""),
        (
            network(tunnels=(Path(address=PEER, interface="eth0", source=IPv4Address("192.0.2.1")),)),
            IPVS,
            f"outer source to {PEER}",
            Level.PROBLEM,
            "ip address replace 10.99.0.1/32 dev lo && ip rule add pref 100 ipproto icmp lookup main"
            " && ip rule add pref 100 ipproto tcp lookup main && ip rule add pref 100 ipproto udp lookup main"
            f" && ip rule add pref 101 to {PEER} lookup 100"
            f" && ip route replace {PEER} dev eth0 src 10.99.0.1 table 100",
        ),
        (
            network(tunnels=(Path(address=PEER, source=IPv4Address("10.99.0.1")),)),
            IPVS,
            f"outer source to {PEER}",
            Level.OK,
            "",
        ),
        (
            network(tunnels=(Path(address=PEER),)),
            IPVS,
            f"outer source to {PEER}",
            Level.PROBLEM,
            f"ip route get {PEER}",
        ),
        (system(nft_families=frozenset(), iptables=True), HYPERVISOR, "forwarding netfilter", Level.OK, ""),
        (system(clsact=False), HYPERVISOR, "forwarding ebpf", Level.PROBLEM, "modprobe sch_ingress"),
        (system(missing_objects=("x.o",)), LB_NODE, "data plane xdp", Level.PROBLEM, "make native"),
        (system(modules={}), LB_NODE, "data plane ipvs", Level.WARNING, ""),
        (system(modules={}), replace(LB_NODE, dataplane="ipvs"), "data plane ipvs", Level.PROBLEM, ""),
        (
            system(modules={"ip_vs": Presence.LOADABLE, "ipip": Presence.READY}),
            LB_NODE,
            "data plane keepalived",
            Level.WARNING,
            "modprobe ip_vs",
        ),
        (system(versions={}), LB_NODE, "announcer bgp", Level.PROBLEM, "apt-get install bird2"),
        (
            system(versions={}),
            replace(LB_NODE, announcer="vrrp"),
            "announcer vrrp",
            Level.PROBLEM,
            "apt-get install keepalived",
        ),
        (system(versions={"bird": (1, 6, 8)}), LB_NODE, "announcer bgp", Level.PROBLEM, "apt-get install bird2"),
        (system(versions={}), HYPERVISOR, "forwarding netfilter", Level.WARNING, "apt-get install nftables"),
        (
            system(nft_families=frozenset({"inet"})),
            HYPERVISOR,
            "forwarding netfilter",
            Level.WARNING,
            "modprobe -a nft_chain_nat nft_ct",
        ),
        (system(jit=False), LB_NODE, "bpf jit", Level.WARNING, "sysctl -w net.core.bpf_jit_enable=1"),
        (network(sysctls={}), HYPERVISOR, "ip_forward", Level.PROBLEM, "sysctl -w net.ipv4.ip_forward=1"),
        (network(sysctls={}), LB_NODE, "ip_forward", Level.OK, ""),
        (
            network(),
            HYPERVISOR6,
            "ipv6 forwarding",
            Level.PROBLEM,
            "sysctl -w net.ipv6.conf.all.forwarding=1",
        ),
        (
            network(sysctls={"net.ipv6.conf.all.forwarding": 1}),
            HYPERVISOR6,
            "ipv6 forwarding",
            Level.OK,
            "",
        ),
        (
            system(nft_families=frozenset({"ip", "inet"})),
            replace(HYPERVISOR6, forwarding="netfilter"),
            "forwarding netfilter of IPv6",
            Level.PROBLEM,
            "modprobe -a nft_chain_nat nft_ct",
        ),
        (
            interfaces(replace(TAP, sysctls={"rp_filter": 1})),
            HYPERVISOR,
            "rp_filter tap1",
            Level.PROBLEM,
            "sysctl -w net.ipv4.conf.tap1.rp_filter=2",
        ),
        (
            interfaces(Interface(name="eth1", sysctls={"rp_filter": 1})),
            HYPERVISOR,
            "rp_filter eth1",
            Level.WARNING,
            "sysctl -w net.ipv4.conf.eth1.rp_filter=2",
        ),
        (
            interfaces(replace(TAP, name="tap.1", sysctls={"rp_filter": 1})),
            HYPERVISOR,
            "rp_filter tap.1",
            Level.PROBLEM,
            "sysctl -w net/ipv4/conf/tap.1/rp_filter=2",
        ),
        (
            network(sysctls={"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 1}),
            HYPERVISOR,
            "rp_filter tap1",
            Level.PROBLEM,
            "sysctl -w net.ipv4.conf.tap1.rp_filter=2",
        ),
        (
            network(sysctls={"net.ipv4.ip_forward": 1, "net.ipv4.conf.default.rp_filter": 1}),
            HYPERVISOR,
            "rp_filter default",
            Level.WARNING,
            "sysctl -w net.ipv4.conf.default.rp_filter=2",
        ),
        (
            interfaces(replace(UPLINK, sysctls={"rp_filter": 1})),
            HYPERVISOR,
            "rp_filter eth0",
            Level.WARNING,
            "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
        ),
        (
            interfaces(replace(UPLINK, sysctls={"arp_ignore": 1})),
            LB_NODE,
            "arp eth0",
            Level.WARNING,
            "sysctl -w net.ipv4.conf.eth0.arp_announce=2",
        ),
        (network(interfaces={}), LB_NODE, "interface eth0", Level.PROBLEM, "ip -brief link"),
        (interfaces(replace(UPLINK, up=False)), LB_NODE, "interface eth0", Level.PROBLEM, "ip link set eth0 up"),
        (interfaces(replace(UPLINK, ethernet=False)), LB_NODE, "interface eth0", Level.PROBLEM, ""),
        (interfaces(replace(UPLINK, native_xdp=False)), LB_NODE, "interface eth0", Level.WARNING, "ethtool -i eth0"),
        (
            network(sysctls={"net.netfilter.nf_conntrack_count": 90, "net.netfilter.nf_conntrack_max": 100}),
            replace(HYPERVISOR, forwarding="netfilter"),
            "conntrack",
            Level.WARNING,
            "sysctl -w net.netfilter.nf_conntrack_max=200",
        ),
        (network(legacy_tables=("nat",)), HYPERVISOR, "firewall", Level.WARNING, "iptables-legacy-save"),
    ],
)
def test_what_is_wrong_is_found_with_its_fix(
    facts: Facts, choice: Choice, subject: str, level: Level, fix: str
) -> None:
    """Each fault has its finding, as grave as the roles and the chosen drivers make it, and its command."""
    finding = [one for one in diagnose(facts, choice) if one.subject == subject][-1]
    assert (finding.level, finding.fix) == (level, fix)


def test_netfilter_does_not_mind_strict_rp_filter() -> None:
    """Translated after that filter, replies pass it: with `netfilter` a strict one is no problem."""
    facts = interfaces(replace(TAP, sysctls={"rp_filter": 1}))
    assert problems(diagnose(facts, replace(HYPERVISOR, forwarding="netfilter"))) == ()


@pytest.mark.parametrize("wrong", [{"dataplane": "xpd"}, {"forwarding": "nft"}, {"announcer": "ospf"}])
def test_a_driver_nobody_knows_is_refused(wrong: dict[str, str]) -> None:
    """A misspelt driver would otherwise be found to lack nothing; those that exist are named."""
    with pytest.raises(InvalidInput, match="choose one of"):
        require_known(replace(BOTH, **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "level", "words"),
    [
        (Path(address=PEER), Level.PROBLEM, "no route"),
        (Path(address=PEER, interface="eth0", route_mtu=1400), Level.PROBLEM, "1400"),
        (Path(address=PEER, interface="eth0", route_mtu=1500), Level.WARNING, "answers no ping"),
        (Path(address=PEER, interface="eth0", route_mtu=1500, answered=576), Level.PROBLEM, "none of 1500"),
        (Path(address=PEER, interface="eth0", route_mtu=1500, answered=1500), Level.WARNING, "clamped"),
        (Path(address=PEER, interface="eth0", route_mtu=1600, answered=1520), Level.OK, "1520"),
        (Path(address=PEER6, interface="eth0", route_mtu=1500, answered=1280), Level.PROBLEM, "none of 1500"),
        (Path(address=PEER6, interface="eth0", route_mtu=1600, answered=1520), Level.WARNING, "clamped"),
        (Path(address=PEER6, interface="eth0", route_mtu=1600, answered=1540), Level.OK, "1540"),
    ],
)
def test_a_way_has_room_for_the_tunnel(path: Path, level: Level, words: str) -> None:
    """A way is measured by what the tunnel needs, and by what clients' longest packets need in it."""
    finding = found(network(paths=(path,)), LB_NODE, f"path to {path.address}")
    assert finding.level is level
    assert words in finding.sentence


@pytest.mark.parametrize(
    ("line", "choice", "expected"),
    [
        (Assignment(file="/etc/sysctl.d/x.conf", key="net.ipv4.ip_forward", value="0"), HYPERVISOR, True),
        (Assignment(file="/etc/sysctl.d/x.conf", key="net.ipv4.ip_forward", value="0"), LB_NODE, False),
        (Assignment(file="/etc/sysctl.d/x.conf", key="net.ipv4.ip_forward", value="1"), HYPERVISOR, False),
        (Assignment(file="/etc/sysctl.d/x.conf", key="net.ipv6.conf.all.forwarding", value="0"), HYPERVISOR, False),
        (Assignment(file="/etc/sysctl.d/x.conf", key="net.ipv6.conf.all.forwarding", value="0"), HYPERVISOR6, True),
        (Assignment(file="/etc/sysctl.d/x.conf", key="net.ipv4.conf.default.rp_filter", value="1"), HYPERVISOR, True),
        (Assignment(file="/etc/sysctl.d/x.conf", key="net.ipv4.conf.eth0.rp_filter", value="1"), LB_NODE, True),
        (Assignment(file="/etc/sysctl.d/x.conf", key="net.ipv4.conf.eth0.rp_filter", value="2"), LB_NODE, False),
    ],
)
def test_files_that_undo_a_switch_are_named(line: Assignment, choice: Choice, *, expected: bool) -> None:
    """A file that sets what the role cannot have is named, with the command that takes the line out."""
    named = [one for one in diagnose(system(assignments=(line,)), choice) if one.subject == f"owner of {line.key}"]
    assert bool(named) is expected
    assert all(line.file in one.sentence and line.file in one.fix for one in named)


def test_programs_that_own_sysctls_are_named() -> None:
    """Kubernetes' proxy and Calico are named where they run."""
    findings = diagnose(system(processes=frozenset({"kube-proxy", "bash"})), LB_NODE)
    assert [one.subject for one in findings if one.level is Level.WARNING] == ["owner kube-proxy"]


INVALID = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}


def chain(name: str, *, table: str = "filter", family: str = "inet", **more: Any) -> dict[str, Any]:
    """A chain as nft lists it."""
    return {"chain": {"family": family, "table": table, "name": name, **more}}


def rule(where: str, *expressions: Any, table: str = "filter") -> dict[str, Any]:
    """A rule as nft lists it."""
    return {"rule": {"family": "inet", "table": table, "chain": where, "handle": 7, "expr": [*expressions]}}


@pytest.mark.parametrize(
    ("ruleset", "choice", "subjects"),
    [
        ([chain("in", hook="input", policy="drop")], LB_NODE, ["chain inet filter in"]),
        ([chain("in", hook="input", policy="drop")], replace(LB_NODE, announcer="vrrp"), ["chain inet filter in"]),
        ([chain("in", hook="input", policy="drop")], HYPERVISOR, []),
        ([chain("in", hook="input", policy="accept")], LB_NODE, []),
        ([chain("fwd", hook="forward", policy="drop")], HYPERVISOR, ["chain inet filter fwd"]),
        ([chain("fwd", hook="forward", policy="drop", family="ip6")], HYPERVISOR, []),
        ([chain("in", hook="input", policy="drop", table="bascule_xdp")], LB_NODE, []),
        ([chain("fwd", hook="forward"), rule("fwd", INVALID, {"drop": None})], HYPERVISOR, ["rule in inet filter fwd"]),
        ([chain("fwd", hook="forward"), rule("fwd", INVALID, {"counter": None})], HYPERVISOR, []),
        ([chain("in", hook="input"), rule("in", INVALID, {"drop": None})], HYPERVISOR, []),
        ([chain("fwd", hook="forward"), rule("fwd", INVALID, {"drop": None})], LB_NODE, []),
        (
            [chain("fwd", hook="forward"), rule("fwd", INVALID, {"drop": None})],
            replace(HYPERVISOR, forwarding="netfilter"),
            [],
        ),
    ],
)
def test_firewall_rules_that_are_in_the_way(ruleset: list[Any], choice: Choice, subjects: list[str]) -> None:
    """Chains that drop by default, and rules that drop what conntrack never saw, are named where they matter."""
    findings = diagnose(network(ruleset=tuple(ruleset)), choice)
    assert [one.subject for one in findings if one.level is not Level.OK] == subjects


def test_chains_of_ipv6_are_in_the_way_of_ipv6() -> None:
    """A chain of family ip6 that drops by default is named where tunnels of IPv6 are to be accepted."""
    facts = network(ruleset=(chain("fwd", hook="forward", policy="drop", family="ip6"),))
    assert found(facts, HYPERVISOR6, "chain ip6 filter fwd").level is Level.WARNING

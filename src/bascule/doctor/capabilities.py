"""Which data planes, forwardings and announcers this machine can run, and what the others miss. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bascule.doctor.facts import Choice, Facts, Presence, Role, SystemFacts
from bascule.doctor.findings import Finding, ok, problem, warning
from bascule.model.errors import InvalidInput

OLDEST_BIRD = (2, 0)
# quorum_up, sloppy_tcp, mh-port and IPIP health checks as we write them
OLDEST_KEEPALIVED = (2, 2)
_NFT_MODULES = {
    "ip": "modprobe -a nft_chain_nat nft_ct",
    "ip6": "modprobe -a nft_chain_nat nft_ct",
    "inet": "modprobe -a nf_tables nft_reject_inet",
}
_PACKAGES = {"bird": "bird2", "nft": "nftables", "keepalived": "keepalived"}


_KNOWN = {
    "dataplane": ("xdp", "ipvs", "keepalived", "fake"),
    "forwarding": ("ebpf", "netfilter", "fake"),
    "announcer": ("bgp", "vrrp", "fake"),
}


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that is missing, as the end of "… cannot run here:", and how to get it."""

    sentence: str
    fix: str = ""


def require_known(choice: Choice) -> None:
    """Raise InvalidInput when a driver is chosen that does not exist."""
    for field, names in _KNOWN.items():
        if (chosen := getattr(choice, field)) not in names:
            raise InvalidInput(f"There is no {field} {chosen!r}: choose one of {', '.join(names)}.", field=field)


def check_capabilities(facts: Facts, choice: Choice) -> Iterator[Finding]:
    """A finding for each implementation of the roles: a problem only if it is the chosen one."""
    system = facts.system
    if Role.LB_NODE in choice.roles:
        yield _verdict("data plane xdp", list(_xdp(system)), chosen=choice.dataplane == "xdp")
        yield _verdict("data plane ipvs", list(_ipvs(system)), chosen=choice.dataplane == "ipvs")
        lacks = [*_ipvs(system), *_program(system, "keepalived", OLDEST_KEEPALIVED)]
        yield _verdict("data plane keepalived", lacks, chosen=choice.dataplane == "keepalived")
        yield _verdict("announcer bgp", list(_program(system, "bird", OLDEST_BIRD)), chosen=choice.announcer == "bgp")
        lacks = list(_program(system, "keepalived", OLDEST_KEEPALIVED))
        yield _verdict("announcer vrrp", lacks, chosen=choice.announcer == "vrrp")
    if Role.HYPERVISOR in choice.roles:
        yield _verdict("forwarding ebpf", list(_tc(system)), chosen=choice.forwarding == "ebpf")
        yield _netfilter(system, choice, 4)
    if choice.forwards_ipv6 and choice.forwarding == "netfilter":
        yield _netfilter(system, choice, 6)
    if system.jit is False:
        yield warning(
            "bpf jit",
            "BPF programs are interpreted, which is several times slower.",
            "sysctl -w net.core.bpf_jit_enable=1",
        )


def check_interfaces(facts: Facts, choice: Choice) -> Iterator[Finding]:
    """The interfaces that were named exist and suit what is to run on them."""
    for name in choice.outside:
        interface = facts.network.interfaces.get(name)
        if interface is None:
            there = ", ".join(sorted(facts.network.interfaces.keys() - {"lo"})) or "none"
            yield problem(f"interface {name}", f"There is no interface {name}; there are: {there}.", "ip -brief link")
        elif not interface.up:
            yield problem(f"interface {name}", f"{name} is down.", f"ip link set {name} up")
        elif not interface.ethernet:
            yield problem(
                f"interface {name}", f"{name} carries no Ethernet frames: name the Ethernet interface below it."
            )
        elif Role.LB_NODE in choice.roles and choice.dataplane == "xdp" and name in choice.interfaces:
            yield _native_xdp(name, interface.native_xdp)


def _native_xdp(name: str, native: bool | None) -> Finding:
    subject = f"interface {name}"
    if native:
        return ok(subject, f"The driver of {name} runs XDP natively.")
    if native is None:
        return warning(subject, f"This kernel cannot tell whether {name} runs XDP natively.", f"ethtool -i {name}")
    return warning(
        subject,
        f"The driver of {name} has no native XDP: the generic mode works, several times slower.",
        f"ethtool -i {name}",
    )


def _verdict(subject: str, lacks: list[Lack], *, chosen: bool) -> Finding:
    if not lacks:
        return ok(subject, f"The {subject} can run here.")
    sentence = f"The {subject} cannot run here: {'; '.join(lack.sentence for lack in lacks)}."
    fix = " && ".join(lack.fix for lack in lacks if lack.fix)
    return (problem if chosen else warning)(subject, sentence, fix)


def _netfilter(system: SystemFacts, choice: Choice, version: int) -> Finding:
    """By nftables, or without it by iptables-legacy."""
    subject = "forwarding netfilter" + (" of IPv6" if version == 6 else "")
    lacks, nftables = list(_tc(system)), list(_nftables(system, "ip6" if version == 6 else "ip"))
    if nftables and system.iptables and not lacks:
        return ok(subject, f"The {subject} can run here, by iptables-legacy: {nftables[0].sentence}.")
    return _verdict(subject, [*lacks, *nftables], chosen=choice.forwarding == "netfilter")


def _bpf(system: SystemFacts) -> Iterator[Lack]:
    if not system.libbpf:
        yield Lack("libbpf.so.1 is not installed", "apt-get install libbpf1")
    if system.missing_objects:
        yield Lack(f"{', '.join(system.missing_objects)} was not compiled", "make native")


def _xdp(system: SystemFacts) -> Iterator[Lack]:
    yield from _bpf(system)
    if system.libbpf and not system.xdp_programs:
        yield Lack(f"kernel {system.kernel} refuses XDP programs (CONFIG_BPF_SYSCALL, root)")
    yield from _nftables(system, "inet")


def _tc(system: SystemFacts) -> Iterator[Lack]:
    yield from _bpf(system)
    if system.libbpf and not system.tc_programs:
        yield Lack(f"kernel {system.kernel} refuses tc programs (CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF, root)")
    if not system.clsact:
        yield Lack(f"kernel {system.kernel} has no clsact (CONFIG_NET_SCH_INGRESS)", "modprobe sch_ingress")


def _nftables(system: SystemFacts, family: str) -> Iterator[Lack]:
    yield from _program(system, "nft", (0, 9))
    if system.versions.get("nft") and family not in system.nft_families:
        yield Lack(
            f"nftables of kernel {system.kernel} refuses rules like ours in family {family}", _NFT_MODULES[family]
        )


def _ipvs(system: SystemFacts) -> Iterator[Lack]:
    for module in ("ip_vs", "ipip"):
        presence = system.modules.get(module, Presence.ABSENT)
        if presence is Presence.ABSENT:
            yield Lack(f"kernel {system.kernel} has no {module}: boot one that has, such as the distribution's own")
        elif presence is Presence.LOADABLE:
            yield Lack(f"the module {module} is not loaded", f"modprobe {module}")


def _program(system: SystemFacts, name: str, oldest: tuple[int, ...]) -> Iterator[Lack]:
    version = system.versions.get(name)
    if version is None:
        yield Lack(f"{name} is not installed", f"apt-get install {_PACKAGES[name]}")
    elif version < oldest:
        yield Lack(f"{name} is {_dotted(version)}, older than {_dotted(oldest)}", f"apt-get install {_PACKAGES[name]}")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))

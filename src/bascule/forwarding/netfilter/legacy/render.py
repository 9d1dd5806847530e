"""The chains that translate, for `iptables-legacy-restore --noflush` and the same of ip6tables. Pure.

The tc program marks each packet that it takes out of a tunnel with its instance's address. From there:

APART      (raw) gives each instance a conntrack zone of its own for what comes from clients; see the nftables variant
TRANSLATE  (nat) the seeds' NAT rule: one for each instance, VIP, protocol and port
GUARD      (mangle) sends what carries an instance's mark to FATE, which drops what was not translated (routed, it would
           go back to the LB nodes and circle) and takes the mark off the others
REPLIES    (mangle) sends what answers a VIP to REPLY, which clamps the MSS; conntrack translates replies by itself

Rules are written as `iptables-legacy-save` prints them, so that what the kernel has can be compared with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from bascule.forwarding.netfilter.render import mark, zone
from bascule.model.addresses import IPAddress, address_order
from bascule.model.configurations import ForwardingRule

PREFIX = "BASCULE-"


class Chain(NamedTuple):
    """A chain by its place."""

    table: str
    name: str


class Jump(NamedTuple):
    """A rule of one of the kernel's own chains that leads to ours."""

    chain: Chain
    rule: str


# What a chain holds, by chain: each rule without its `-A NAME`.
Chains = Mapping[Chain, tuple[str, ...]]

APART = Chain("raw", f"{PREFIX}APART")
TRANSLATE = Chain("nat", f"{PREFIX}TRANSLATE")
GUARD = Chain("mangle", f"{PREFIX}GUARD")
FATE = Chain("mangle", f"{PREFIX}FATE")
REPLIES = Chain("mangle", f"{PREFIX}REPLIES")
REPLY = Chain("mangle", f"{PREFIX}REPLY")
# The rules whose packets are counted, by the names that the nftables variant uses.
COUNTED = {
    "dropped_no_rule": (FATE, 0),
    "translated": (FATE, 1),
    "replied": (REPLY, 0),
    "mss_clamped": (REPLY, 1),
}
# What guards is in place before what it guards.
_TABLES = ("mangle", "raw", "nat")
_MARKED = "-m mark ! --mark 0x0 -j "


def jumps(*, zones: bool) -> tuple[Jump, ...]:
    """The ways into our chains; `zones` is whether this kernel has those of conntrack."""
    found = [
        Jump(Chain("mangle", "INPUT"), _MARKED + GUARD.name),
        Jump(Chain("mangle", "FORWARD"), _MARKED + GUARD.name),
        Jump(Chain("mangle", "FORWARD"), f"-m conntrack --ctstate DNAT --ctdir REPLY -j {REPLIES.name}"),
        Jump(Chain("nat", "PREROUTING"), _MARKED + TRANSLATE.name),
    ]
    return (*found, Jump(Chain("raw", "PREROUTING"), _MARKED + APART.name)) if zones else tuple(found)


def fixed(largest_segment: int) -> Chains:
    """The chains that are the same whatever the rules. `largest_segment` is in bytes of TCP."""
    offers = f"-p tcp -m tcp --tcp-flags SYN SYN -m tcpmss --mss {largest_segment + 1}:65535"
    return {
        FATE: ("-m conntrack ! --ctstate DNAT -j DROP", "-j MARK --set-xmark 0x0/0xffffffff"),
        REPLY: ("", f"{offers} -j TCPMSS --set-mss {largest_segment}"),
    }


def of_version(rules: Iterable[ForwardingRule], version: int) -> frozenset[ForwardingRule]:
    """The rules of that version of IP."""
    return frozenset(rule for rule in rules if rule.address.version == version)


def variable(version: int, rules: Iterable[ForwardingRule], instances: Set[IPAddress], *, zones: bool) -> Chains:
    """The chains that follow the rules of that version of IP."""
    ours = sorted(of_version(rules, version))
    hosts = sorted((host for host in instances if host.version == version), key=address_order)
    vips = sorted({rule.address for rule in ours}, key=address_order)
    chains = {
        TRANSLATE: tuple(map(translation, ours)),
        GUARD: tuple(map(guard, hosts)),
        REPLIES: tuple(f"-m conntrack --ctorigdst {vip} -j {REPLY.name}" for vip in vips),
    }
    return chains | ({APART: tuple(map(_apart, hosts))} if zones else {})


def translation(rule: ForwardingRule) -> str:
    """The rule that translates."""
    return (
        f"-d {rule.address}/{rule.address.max_prefixlen} -p {rule.protocol} {_from(rule.instance)}"
        f" -m {rule.protocol} --dport {rule.port} -j DNAT --to-destination {_place(rule.instance)}:{rule.target_port}"
    )


def _place(instance: IPAddress) -> str:
    return f"[{instance}]" if instance.version == 6 else str(instance)


def guard(instance: IPAddress) -> str:
    """The rule that looks at what came for an instance."""
    return f"{_from(instance)} -j {FATE.name}"


def script(chains: Chains, missing: Iterable[Jump]) -> str:
    """Replace whole chains, then lead the kernel's own to them: each table changes at once."""
    leading = list(missing)
    return "".join(
        _commit(table, {chain: rules for chain, rules in chains.items() if chain.table == table}, leading)
        for table in _TABLES
    )


def _commit(table: str, chains: Chains, leading: Iterable[Jump]) -> str:
    # Naming a chain empties it, or makes it.
    lines = [f":{chain.name} - [0:0]" for chain in chains]
    lines += [f"-A {chain.name} {rule}".rstrip() for chain, rules in chains.items() for rule in rules]
    lines += [f"-I {jump.chain.name} {jump.rule}" for jump in leading if jump.chain.table == table]
    return "\n".join((f"*{table}", *lines, "COMMIT", "")) if lines else ""


def _from(instance: IPAddress) -> str:
    return f"-m mark --mark {mark(instance):#x}"


def _apart(instance: IPAddress) -> str:
    return f"{_from(instance)} -j CT --zone-orig {zone(instance)}"

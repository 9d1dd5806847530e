"""Reads what `iptables-legacy-save --counters` printed into something to compare. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from bascule.forwarding.netfilter import listing
from bascule.forwarding.netfilter.legacy.render import COUNTED, TRANSLATE, Chain, Jump, guard, translation
from bascule.forwarding.netfilter.legacy.render import GUARD as GUARDING
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import InvalidInput
from bascule.model.strategies import Protocol

_RULE = re.compile(r"\[(?P<packets>\d+):\d+] -A (?P<chain>\S+) ?(?P<rule>.*)")
_TRANSLATION = re.compile(
    r"-d (?P<vip>[\da-f.:]+)/\d+ -p (?P<protocol>\w+) .* --dport (?P<port>\d+)"
    r" -j DNAT --to-destination \[?(?P<instance>[\da-f.:]+?)]?:(?P<target>\d+)"
)


@dataclass(slots=True)
class Listing:
    """Every chain with its rules, and how many packets met each of them."""

    chains: dict[Chain, list[str]] = field(default_factory=dict)
    packets: dict[Chain, list[int]] = field(default_factory=dict)

    def holds(self, chain: Chain, rules: Iterable[str]) -> bool:
        """Whether a chain is there and has these rules and no others, in this order."""
        return self.chains.get(chain) == list(rules)

    def leads(self, jump: Jump) -> bool:
        """Whether a jump is in place; where in its chain is up to others."""
        return jump.rule in self.chains.get(jump.chain, ())

    def rules(self) -> frozenset[ForwardingRule]:
        """The rules that translate."""
        return frozenset(_translations(self.chains.get(TRANSLATE, ())))

    def guarded(self) -> frozenset[ForwardingRule]:
        """Those of them whose instance is guarded."""
        guards = set(self.chains.get(GUARDING, ()))
        return frozenset(rule for rule in self.rules() if guard(rule.instance) in guards)

    def counters(self) -> dict[str, int]:
        """Packets by their fate; without those whose rules are missing."""
        return {
            name: self.packets[chain][place]
            for name, (chain, place) in COUNTED.items()
            if len(self.packets.get(chain, ())) > place
        }


def read(saved: str) -> Listing:
    """Read a listing of any number of tables."""
    found, table = Listing(), ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chain = Chain(table, line[1:].split()[0])
            found.chains[chain], found.packets[chain] = [], []
        elif match := _RULE.fullmatch(line):
            chain = Chain(table, match["chain"])
            found.chains[chain].append(match["rule"])
            found.packets[chain].append(int(match["packets"]))
    return found


def differences(actual: frozenset[ForwardingRule], wanted: frozenset[ForwardingRule]) -> tuple[str, ...]:
    """A sentence for each rule to write or delete."""
    return listing.differences("", listing.Contents(rules=actual), listing.Contents(rules=wanted))


def _translations(lines: Iterable[str]) -> Iterator[ForwardingRule]:
    """Lines that no rule of ours can look like are passed over: their chain differs, and is written anew."""
    for line in lines:
        match = _TRANSLATION.fullmatch(line)
        try:
            rule = match and ForwardingRule(
                ip_address(match["vip"]),
                Protocol(match["protocol"]),
                int(match["port"]),
                ip_address(match["instance"]),
                int(match["target"]),
            )
        except (ValueError, InvalidInput):
            continue
        if rule and translation(rule) == line:
            yield rule

"""Reads what `nft -j list table` printed into something to compare. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from bascule.forwarding.netfilter.render import mark, zone
from bascule.forwarding.words import rule_words
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol

# What differs between two tables that mean the same.
_INCIDENTAL = {"handle", "packets", "bytes", "elem"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The table: its rules of forwarding, the elements of the other sets, and its shape (chains, sets, their rules)."""

    rules: frozenset[ForwardingRule] = frozenset()
    elements: frozenset[str] = frozenset()
    shape: tuple[str, ...] = ()


def desired(rules: Set[ForwardingRule], instances: Set[IPAddress], shape: tuple[str, ...]) -> Contents:
    """What the table should be."""
    elements = {f"instances {mark(host)}" for host in instances}
    elements |= {f"zones {[mark(host), zone(host)]}" for host in instances}
    elements |= {f"addresses {rule.address}" for rule in rules}
    return Contents(rules=frozenset(rules), elements=frozenset(elements), shape=shape)


def read(listed: str) -> Contents:
    """Read a listing; of no table at all if it is empty."""
    items = list(_items(listed))
    rules: set[ForwardingRule] = set()
    elements: set[str] = set()
    for name, element in _elements(items):
        rule = _rule(element) if name == "targets" else None
        if rule is None:
            elements.add(f"{name} {element}")
        else:
            rules.add(rule)
    shape = tuple(json.dumps(_without_incidentals(item), sort_keys=True) for item in items)
    return Contents(rules=frozenset(rules), elements=frozenset(elements), shape=shape)


def counters(listed: str) -> dict[str, int]:
    """The packets of each named counter."""
    return {item["counter"]["name"]: item["counter"]["packets"] for item in _items(listed) if "counter" in item}


def differences(table: str, actual: Contents, wanted: Contents) -> tuple[str, ...]:
    """A sentence for each rule to write or delete, and one for anything else in the table of that name."""
    sentences = [f"Wrote {rule_words(rule)}." for rule in sorted(wanted.rules - actual.rules)]
    replaced = {(rule.address, rule.protocol, rule.port, rule.instance) for rule in wanted.rules}
    gone = sorted(actual.rules - wanted.rules)
    sentences += [
        f"Deleted {rule_words(rule)}."
        for rule in gone
        if (rule.address, rule.protocol, rule.port, rule.instance) not in replaced
    ]
    if actual.shape != wanted.shape:
        sentences.insert(
            0, f"Wrote the nftables table {table}." if wanted.shape else f"Removed the nftables table {table}."
        )
    elif actual.elements != wanted.elements and not sentences:
        sentences.append(f"Repaired the sets of the nftables table {table}.")
    return tuple(sentences)


def _items(listed: str) -> Iterator[dict[str, Any]]:
    items = json.loads(listed)["nftables"] if listed else []
    return (item for item in items if "metainfo" not in item)


def _elements(items: Iterable[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for item in items:
        for kind in ("set", "map"):
            for element in item.get(kind, {}).get("elem", ()):
                yield item[kind]["name"], element


def _rule(element: Any) -> ForwardingRule | None:
    """Read an element of `targets`; None when no rule of ours can look like it."""
    try:
        (marked, address, protocol, port), (instance, target_port) = (part["concat"] for part in element)
        rule = ForwardingRule(
            ip_address(address), Protocol(protocol), int(port), ip_address(instance), int(target_port)
        )
    except (KeyError, TypeError, ValueError):
        return None
    return rule if mark(rule.instance) == marked else None


def _without_incidentals(item: dict[str, Any]) -> dict[str, Any]:
    return {kind: {key: value for key, value in body.items() if key not in _INCIDENTAL} for kind, body in item.items()}

"""Hints at firewall rules that are known to stop what we forward. Pure: reads what `nft -j list ruleset` printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bascule.doctor.facts import Choice, Facts, Role
from bascule.doctor.findings import Finding, ok, warning

_FAMILIES = ("ip", "inet")
_OURS = "bascule"


def check_firewall(facts: Facts, choice: Choice) -> Iterator[Finding]:
    """Chains that drop by default, and rules that drop what conntrack cannot place."""
    found = list(_look(facts, choice))
    yield from found or [ok("firewall", "No nftables rule is known to stop what we forward.")]
    if facts.network.legacy_tables:
        yield warning(
            "firewall",
            f"There are rules of iptables-legacy too ({', '.join(facts.network.legacy_tables)}), not examined here.",
            "iptables-legacy-save",
        )


def _look(facts: Facts, choice: Choice) -> Iterator[Finding]:
    hypervisor = Role.HYPERVISOR in choice.roles
    families = (*_FAMILIES, "ip6") if choice.forwards_ipv6 else _FAMILIES
    ruleset = [item for item in facts.network.ruleset if _family(item) in families]
    chains = [item["chain"] for item in ruleset if "chain" in item]
    for chain in filter(_is_foreign, chains):
        where = _place(chain)
        if chain.get("policy") != "drop":
            continue
        if chain.get("hook") == "input" and Role.LB_NODE in choice.roles and choice.announcer == "bgp":
            yield warning(
                f"chain {where}",
                f"The chain {where} drops what no rule accepts: BGP, BFD and the agent's port must pass.",
                f"nft insert rule {where} tcp dport '{{ 179, 7701 }}' accept"
                f" && nft insert rule {where} udp dport '{{ 3784, 4784 }}' accept",
            )
        if chain.get("hook") == "input" and Role.LB_NODE in choice.roles and choice.announcer == "vrrp":
            yield warning(
                f"chain {where}",
                f"The chain {where} drops what no rule accepts: VRRP and the agent's port must pass.",
                f"nft insert rule {where} meta l4proto 112 accept && nft insert rule {where} tcp dport 7701 accept",
            )
        if chain.get("hook") == "forward" and hypervisor:
            yield warning(
                f"chain {where}",
                f"The chain {where} drops what no rule accepts: packets to and from instances must pass.",
                f"nft list chain {where}",
            )
    if hypervisor and choice.forwarding == "ebpf":
        hooks = {_place(chain): chain.get("hook") for chain in chains}
        for rule in (item["rule"] for item in ruleset if "rule" in item):
            where = _place(rule, "chain")
            if _is_foreign(rule) and hooks.get(where) in (None, "forward", "prerouting") and _drops_invalid(rule):
                yield warning(
                    f"rule in {where}",
                    f"A rule in {where} drops what conntrack finds invalid: replies from VIPs are, as it never saw"
                    " their requests.",
                    f"nft delete rule {where} handle {rule.get('handle')}",
                )


def _is_foreign(item: Mapping[str, Any]) -> bool:
    return not str(item.get("table", "")).startswith(_OURS)


def _family(item: Mapping[str, Any]) -> str:
    """Of what is listed: its kind leads to it."""
    return next((str(body.get("family")) for body in item.values() if isinstance(body, Mapping)), "")


def _place(item: Mapping[str, Any], key: str = "name") -> str:
    return f"{item.get('family')} {item.get('table')} {item.get(key)}"


def _drops_invalid(rule: Mapping[str, Any]) -> bool:
    expressions = rule.get("expr", ())
    drops = any("drop" in expression or "reject" in expression for expression in expressions)
    return drops and any(_matches_invalid(expression.get("match")) for expression in expressions)


def _matches_invalid(match: Mapping[str, Any] | None) -> bool:
    if not match or match.get("op") == "!=" or match.get("left") != {"ct": {"key": "state"}}:
        return False
    right = match.get("right")
    return "invalid" in _words(right)


def _words(right: Any) -> list[str]:
    """One state, a list of them, or an anonymous set."""
    if isinstance(right, Mapping):
        return _words(right.get("set", right.get("|", [])))
    return [str(word) for word in right] if isinstance(right, list) else [str(right)]

"""How rules are named in sentences. Pure."""

from __future__ import annotations

from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule

_IPV6 = 6


def endpoint(address: IPAddress, port: int) -> str:
    """Address and port; brackets keep the colons of IPv6 apart (RFC 3986)."""
    return f"[{address}]:{port}" if address.version == _IPV6 else f"{address}:{port}"


def rule_words(rule: ForwardingRule) -> str:
    """The rule with where it leads."""
    return f"{matched_words(rule)} to {endpoint(rule.instance, rule.target_port)}"


def matched_words(rule: ForwardingRule) -> str:
    """The rule by what it matches, without its target."""
    return f"the rule from {rule.protocol} {endpoint(rule.address, rule.port)}"

"""From the configurations of all load balancers to one set of rules: pure."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingConfiguration, ForwardingRule
from bascule.model.errors import InvalidInput, Taken

_PORT_MAX = 65535


def merge(configurations: Iterable[ForwardingConfiguration]) -> frozenset[ForwardingRule]:
    """The rules of all load balancers together."""
    return frozenset(rule for configuration in configurations for rule in configuration.rules)


def check(configurations: Iterable[ForwardingConfiguration]) -> None:
    """See that all of these can be in force together. Raises InvalidInput, or Taken when two want one address."""
    holders: dict[IPAddress, UUID] = {}
    for configuration in configurations:
        matches = {(rule.address, rule.protocol, rule.port, rule.instance) for rule in configuration.rules}
        if len(matches) != len(set(configuration.rules)):
            raise InvalidInput("One service and instance has two target ports: name one.", field="rules")
        for place, rule in enumerate(configuration.rules):
            if not (1 <= rule.port <= _PORT_MAX and 1 <= rule.target_port <= _PORT_MAX):
                raise InvalidInput(f"A port is 1 to {_PORT_MAX}.", field=f"rules.{place}")
            if rule.address.version != rule.instance.version:
                raise InvalidInput(
                    f"{rule.address} cannot be translated to {rule.instance}: name an instance of its family.",
                    field=f"rules.{place}.instance",
                )
            holder = holders.setdefault(rule.address, configuration.load_balancer_id)
            if holder != configuration.load_balancer_id:
                raise Taken(
                    f"{rule.address} has rules for load balancer {holder}: remove those from this hypervisor first.",
                    field=f"rules.{place}.address",
                )

"""What a service asks of the data plane that carries it, where not every data plane has it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from dataclasses import field as option

from bascule.model.addresses import IPAddress
from bascule.model.configurations import BalancerConfiguration
from bascule.model.data_planes import CAPABILITIES, Capabilities, DataPlaneName
from bascule.model.instance_pools import Instance
from bascule.model.load_balancers import Service
from bascule.model.strategies import Strategy
from bascule.model.virtual_services import ForwardingMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One thing asked for: `field` is where the public API's body says it, `words` are for a human."""

    field: str
    words: str
    met_by: Callable[[Capabilities], bool] = option(compare=False, repr=False)

    @property
    def carriers(self) -> frozenset[DataPlaneName]:
        """The data planes that have it."""
        return frozenset(name for name, capabilities in CAPABILITIES.items() if self.met_by(capabilities))

    def __str__(self) -> str:
        return f"{self.words} (only with {_names(self.carriers)})" if self.carriers else f"{self.words} (nowhere yet)"


def of_address(address: IPAddress) -> tuple[Demand, ...]:
    """What an address asks for."""
    version = address.version
    return _special(Demand(field="ip", words=f"IPv{version}", met_by=lambda has: version in has.families))


def of_service(service: Service, members: Iterable[Instance] = ()) -> tuple[Demand, ...]:
    """What a service asks for, with the instances that serve it: each may want a method of its own."""
    methods = {member.forwarding_method for member in members if member.forwarding_method is not None}
    return _special(
        _strategy(service.strategy),
        _method(service.forwarding_method),
        *(_method(method) for method in sorted(methods - {service.forwarding_method})),
        *([_PERSISTENCE] if service.persistence is not None else []),
        *([_rise(service.health_check.rise)] if service.health_check.rise > 1 else []),
    )


def of_configuration(configuration: BalancerConfiguration) -> tuple[Demand, ...]:
    """The same, of what an LB node is told."""
    found = list(of_address(configuration.address))
    for service in configuration.services:
        methods = {backend.method for backend in service.backends}
        if service.health_check.sorry_server is not None:
            methods.add(service.sorry_method)
        found += _special(
            _strategy(service.strategy),
            *(_method(method) for method in sorted(methods)),
            *([_PERSISTENCE] if service.persistence is not None else []),
            *([_rise(service.health_check.rise)] if service.health_check.rise > 1 else []),
        )
    return tuple(dict.fromkeys(found))


def carriers(demands: Iterable[Demand]) -> frozenset[DataPlaneName]:
    """The data planes that have all of it."""
    return frozenset(DataPlaneName).intersection(*(demand.carriers for demand in demands))


def unmet(demands: Iterable[Demand], available: Set[DataPlaneName]) -> tuple[str, str] | None:
    """Why none of the `available` data planes has all of it: the field that asks for too much, and a sentence."""
    left = available
    so_far: list[Demand] = []
    for demand in demands:
        remaining = left & demand.carriers
        if not remaining:
            return demand.field, _explain(demand, so_far, available)
        left = remaining
        so_far.append(demand)
    return None


def _explain(demand: Demand, so_far: list[Demand], available: Set[DataPlaneName]) -> str:
    sentence = _reason(demand, so_far, available)
    return sentence[0].upper() + sentence[1:]


def _reason(demand: Demand, so_far: list[Demand], available: Set[DataPlaneName]) -> str:
    have = f"the enabled LB nodes run {_names(available)}"
    if not demand.carriers:
        return f"No data plane carries {demand.words} yet: ask for something else."
    if not demand.carriers & available:
        return (
            f"{demand.words} needs an LB node with the data plane {_names(demand.carriers)}, and {have}: register such"
            " a node, or ask for something else."
        )
    others = ", ".join(str(other) for other in so_far if not other.carriers & demand.carriers & available)
    others = others or ", ".join(map(str, so_far))
    return f"No LB node carries {demand} together with {others}, for {have}: register one that has both, or choose."


def _special(*demands: Demand) -> tuple[Demand, ...]:
    """Without what every data plane has."""
    return tuple(demand for demand in dict.fromkeys(demands) if demand.carriers != frozenset(DataPlaneName))


def _strategy(strategy: Strategy) -> Demand:
    return Demand(field="strategy", words=f"strategy {strategy}", met_by=lambda has: strategy in has.strategies)


def _method(method: ForwardingMethod) -> Demand:
    words = f"forwarding method {method}"
    return Demand(field="forwarding-method", words=words, met_by=lambda has: method in has.methods)


def _rise(rise: int) -> Demand:
    return Demand(field="healthcheck.rise", words=f"rise {rise}", met_by=lambda has: has.rise)


_PERSISTENCE = Demand(field="persistence", words="persistence", met_by=lambda has: has.persistence)


def _names(planes: Iterable[DataPlaneName]) -> str:
    return " or ".join(sorted(planes))


def missing(demands: Iterable[Demand], capabilities: Capabilities) -> Iterator[Demand]:
    """What a data plane with these capabilities has not."""
    return (demand for demand in demands if not demand.met_by(capabilities))

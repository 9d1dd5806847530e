"""From configurations and verdicts to what the node should do: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from uuid import UUID

from bascule.agents.lb_node.quorum import weight_of
from bascule.healthchecks.interface import Target, TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model import demands
from bascule.model.addresses import IPAddress, address_order
from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration
from bascule.model.data_planes import Capabilities
from bascule.model.errors import Conflict, InvalidInput, Taken
from bascule.model.health_check_rules import PORT_MAX, problem_of
from bascule.model.health_checks import Health, OnFailure
from bascule.model.virtual_services import ServiceKey, VirtualBackend, VirtualService

_WEIGHT_MAX = 100
_SEED_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What a pass should make true. `announced` is drawn to the node only as far as the data plane is ready for it.

    Of these, routers are asked to leave those that are `fading`. `of` are the configurations that all this follows
    from.
    """

    addresses: frozenset[IPAddress] = frozenset()
    services: tuple[VirtualService, ...] = ()
    announced: frozenset[IPAddress] = frozenset()
    fading: frozenset[IPAddress] = frozenset()
    of: tuple[BalancerConfiguration, ...] = field(default=(), compare=False)


def desire(
    configurations: Iterable[BalancerConfiguration],
    verdicts: Mapping[TargetKey, Verdict],
    leaving: Set[UUID],
    quorums: Mapping[UUID, bool] = MappingProxyType({}),
    *,
    fading: Set[UUID] = frozenset(),
    unjudged: bool = False,
) -> Desired:
    """All the node should do. Load balancers that are `leaving` are still served, but draw no more traffic.

    Those that are `fading` are announced a moment longer, so that routers can move their packets elsewhere.

    Whether backends are healthy does not matter for the announcement: without any, the data plane refuses the traffic,
    and the client learns at once. `quorums` are the services' states; one that has none yet is up. `unjudged` is for a
    data plane that checks its backends itself: it gets all of them, and what to check.
    """
    configurations = tuple(configurations)
    return Desired(
        addresses=frozenset(each.address for each in configurations),
        services=tuple(
            _unjudged(each, service)
            if unjudged
            else _service(each, service, verdicts, up=quorums.get(service.id, True))
            for each in configurations
            for service in each.services
        ),
        announced=frozenset(
            each.address
            for each in configurations
            if (each.announced and each.load_balancer_id not in leaving) or each.load_balancer_id in fading
        ),
        fading=frozenset(each.address for each in configurations if each.load_balancer_id in fading),
        of=configurations,
    )


def _unjudged(configuration: BalancerConfiguration, service: ServiceConfiguration) -> VirtualService:
    weights = {backend.address: backend.weight for backend in service.backends}
    return replace(_virtual(configuration, service, weights), health_check=service.health_check)


def _service(
    configuration: BalancerConfiguration,
    service: ServiceConfiguration,
    verdicts: Mapping[TargetKey, Verdict],
    *,
    up: bool,
) -> VirtualService:
    sorry_server = None if up else service.health_check.sorry_server
    weights = {
        backend.address: weight
        for backend in service.backends
        for verdict in [verdicts.get(TargetKey(service.id, backend.instance_id), Verdict())]
        if (weight := _weight(service, backend, verdict, up=sorry_server is None)) is not None
    }
    if sorry_server is not None:
        weights[sorry_server] = 1
    return _virtual(configuration, service, weights)


def _virtual(
    configuration: BalancerConfiguration, service: ServiceConfiguration, weights: Mapping[IPAddress, int]
) -> VirtualService:
    """The service with these backends; one that is no instance of it is the sorry server."""
    methods = {backend.address: backend.method for backend in service.backends}
    return VirtualService(
        key=ServiceKey(configuration.address, service.protocol, service.port),
        strategy=service.strategy,
        hash_source_port=service.hash_source_port,
        hash_seed=configuration.hash_seed,
        persistence=service.persistence,
        backends=tuple(
            VirtualBackend(
                address=address,
                weight=weight,
                target_port=service.target_port,
                method=methods.get(address, service.sorry_method),
            )
            for address, weight in sorted(weights.items(), key=lambda item: address_order(item[0]))
        ),
    )


def _weight(service: ServiceConfiguration, backend: Backend, verdict: Verdict, *, up: bool) -> int | None:
    """The weight a backend serves with, 0 for its open connections alone; None when it is left out.

    While the sorry server serves, healthy backends are treated like failed ones, as keepalived does. One that was given
    weight 0 keeps its connections whatever its check says: who drains often says that it is not ready.
    """
    if backend.weight == 0:
        return 0
    if verdict.health is Health.UNKNOWN:
        return None
    if up and verdict.health is Health.SUCCESS:
        return weight_of(backend, verdict)
    return 0 if service.health_check.on_failure is OnFailure.INHIBIT else None


def targets(configurations: Iterable[BalancerConfiguration]) -> tuple[Target, ...]:
    """What to check: every instance of every service."""
    return tuple(
        Target(
            key=TargetKey(service.id, backend.instance_id), address=backend.address, health_check=service.health_check
        )
        for configuration in configurations
        for service in configuration.services
        for backend in service.backends
    )


def check(configurations: Iterable[BalancerConfiguration]) -> None:
    """See that all of these can be carried together. Raises InvalidInput, or Taken when two want one address."""
    holders: dict[IPAddress, UUID] = {}
    for configuration in configurations:
        holder = holders.setdefault(configuration.address, configuration.load_balancer_id)
        if holder != configuration.load_balancer_id:
            raise Taken(
                f"{configuration.address} is carried for load balancer {holder}: remove that from this node first.",
                field="address",
            )
        _check_one(configuration)


def check_carried(configuration: BalancerConfiguration, name: str, capabilities: Capabilities) -> None:
    """Refuse at once what the node's data plane has not: a pass would fail for every load balancer. Raises Conflict."""
    lacking = ", ".join(
        demand.words for demand in demands.missing(demands.of_configuration(configuration), capabilities)
    )
    if lacking:
        raise Conflict(f"This node's data plane {name} has no {lacking}: register the node with what it runs.")


def _check_one(configuration: BalancerConfiguration) -> None:
    if not 0 <= configuration.hash_seed <= _SEED_MAX:
        raise InvalidInput("hash_seed is an unsigned 64-bit number.", field="hash_seed")
    seen: set[tuple[str, int]] = set()
    for place, service in enumerate(configuration.services):
        here = f"services.{place}"
        if (service.protocol, service.port) in seen:
            raise InvalidInput(f"{service.protocol} port {service.port} is used twice.", field=f"{here}.port")
        seen.add((service.protocol, service.port))
        for name, port in (("port", service.port), ("target_port", service.target_port)):
            if not 1 <= port <= PORT_MAX:
                raise InvalidInput(f"{port} is not a port: use 1 to {PORT_MAX}.", field=f"{here}.{name}")
        problem = problem_of(service.health_check)
        if problem is not None:
            field = f"{here}.health_check.{problem[0]}"
            raise InvalidInput(f"{field} {problem[1]}.", field=field)
        if any(not 0 <= backend.weight <= _WEIGHT_MAX for backend in service.backends):
            raise InvalidInput(f"A weight is 0 to {_WEIGHT_MAX}.", field=f"{here}.backends")
        if len({backend.address for backend in service.backends}) != len(service.backends):
            raise InvalidInput("Two backends of one service have the same address.", field=f"{here}.backends")

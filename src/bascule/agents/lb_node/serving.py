"""From configurations and verdicts to what the node should do: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from ipaddress import IPv4Address
from uuid import UUID

from bascule.healthchecks.interface import Target, TargetKey
from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration
from bascule.model.errors import InvalidInput, Taken
from bascule.model.health_checks import Health
from bascule.model.virtual_services import ServiceKey, VirtualBackend, VirtualService

_WEIGHT_MAX = 100
_PORT_MAX = 65535
_SEED_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What a pass should make true. `announced` is drawn to the node only as far as the data plane is ready for it."""

    addresses: frozenset[IPv4Address] = frozenset()
    services: tuple[VirtualService, ...] = ()
    announced: frozenset[IPv4Address] = frozenset()


def desire(
    configurations: Iterable[BalancerConfiguration], health: Mapping[TargetKey, Health], leaving: Set[UUID]
) -> Desired:
    """All the node should do. Load balancers that are `leaving` are still served, but draw no more traffic.

    Whether backends are healthy does not matter for the announcement: without any, the data plane refuses the traffic,
    and the client learns at once.
    """
    configurations = tuple(configurations)
    return Desired(
        addresses=frozenset(each.address for each in configurations),
        services=tuple(_service(each, service, health) for each in configurations for service in each.services),
        announced=frozenset(
            each.address for each in configurations if each.announced and each.load_balancer_id not in leaving
        ),
    )


def _service(
    configuration: BalancerConfiguration, service: ServiceConfiguration, health: Mapping[TargetKey, Health]
) -> VirtualService:
    healthy = (
        backend
        for backend in service.backends
        if health.get(TargetKey(service.id, backend.instance_id)) is Health.SUCCESS
    )
    return VirtualService(
        key=ServiceKey(configuration.address, service.protocol, service.port),
        strategy=service.strategy,
        hash_source_port=service.hash_source_port,
        hash_seed=configuration.hash_seed,
        backends=tuple(_backend(service, backend) for backend in sorted(healthy, key=lambda each: each.address)),
    )


def _backend(service: ServiceConfiguration, backend: Backend) -> VirtualBackend:
    return VirtualBackend(address=backend.address, weight=backend.weight, target_port=service.target_port)


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
    holders: dict[IPv4Address, UUID] = {}
    for configuration in configurations:
        holder = holders.setdefault(configuration.address, configuration.load_balancer_id)
        if holder != configuration.load_balancer_id:
            raise Taken(
                f"{configuration.address} is carried for load balancer {holder}: remove that from this node first.",
                field="address",
            )
        _check_one(configuration)


def _check_one(configuration: BalancerConfiguration) -> None:
    if not 0 <= configuration.hash_seed <= _SEED_MAX:
        raise InvalidInput("hash_seed is an unsigned 64-bit number.", field="hash_seed")
    seen: set[tuple[str, int]] = set()
    for place, service in enumerate(configuration.services):
        here = f"services.{place}"
        if (service.protocol, service.port) in seen:
            raise InvalidInput(f"{service.protocol} port {service.port} is used twice.", field=f"{here}.port")
        seen.add((service.protocol, service.port))
        for name, port in (
            ("port", service.port),
            ("target_port", service.target_port),
            ("health_check.port", service.health_check.port),
        ):
            if not 1 <= port <= _PORT_MAX:
                raise InvalidInput(f"{port} is not a port: use 1 to {_PORT_MAX}.", field=f"{here}.{name}")
        if min(service.health_check.interval, service.health_check.timeout) < 1 or service.health_check.retries < 0:
            raise InvalidInput(
                "interval and timeout are at least 1 s, retries at least 0.", field=f"{here}.health_check"
            )
        if any(not 0 <= backend.weight <= _WEIGHT_MAX for backend in service.backends):
            raise InvalidInput(f"A weight is 0 to {_WEIGHT_MAX}.", field=f"{here}.backends")
        if len({backend.address for backend in service.backends}) != len(service.backends):
            raise InvalidInput("Two backends of one service have the same address.", field=f"{here}.backends")

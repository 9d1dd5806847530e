"""What each node should carry, derived from the expected state. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import TypeAlias
from uuid import UUID

from bascule.balancing.inventory import Inventory
from bascule.balancing.placement import Wish
from bascule.model import demands
from bascule.model.addresses import IPAddress, address_order
from bascule.model.configurations import (
    Backend,
    BalancerConfiguration,
    ForwardingConfiguration,
    ForwardingRule,
    RulesByHypervisor,
    ServiceConfiguration,
    Version,
)
from bascule.model.demands import Demand
from bascule.model.instance_pools import Instance, InstancePool
from bascule.model.load_balancers import LoadBalancer, Service
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ForwardingMethod

_TUNNEL = ForwardingMethod.TUNNEL


# A service, its protocol and port, an instance, its address, and the hypervisor that has the rules for it.
Confirmed: TypeAlias = tuple[UUID, Protocol, int, UUID, IPAddress, UUID | None]


def version_of(inventory: Inventory) -> Version:
    """The version every command of this run carries."""
    return Version(inventory.epoch, inventory.load_balancer.generation)


def rules_by_hypervisor(inventory: Inventory) -> RulesByHypervisor:
    """The rules each hypervisor needs once the change is complete."""
    rules: dict[UUID, set[ForwardingRule]] = {}
    for service in inventory.load_balancer.services:
        for instance in (*members_of(service, inventory), *_fallback(service, inventory)):
            if method_of(instance, service) is not ForwardingMethod.TUNNEL:
                continue  # its packets come to it without its hypervisor's doing
            rule = ForwardingRule(
                address=inventory.load_balancer.address,
                protocol=service.protocol,
                port=service.port,
                instance=instance.address,
                target_port=service.target_port,
            )
            for place in instance.places:
                rules.setdefault(place, set()).add(rule)
    return {hypervisor_id: frozenset(found) for hypervisor_id, found in rules.items()}


def former_rules(inventory: Inventory, wanted: RulesByHypervisor) -> RulesByHypervisor:
    """Rules not `wanted` any more by which LB nodes may still send: those of a port that changed, say.

    None of an instance that is on another hypervisor now.
    """
    places: dict[IPAddress, set[UUID]] = {}
    for hypervisor_id, rules in wanted.items():
        for rule in rules:
            places.setdefault(rule.instance, set()).add(hypervisor_id)
    former = {}
    for hypervisor_id, rules in (inventory.given or {}).items():
        here = frozenset(rule for rule in rules if hypervisor_id in places.get(rule.instance, {hypervisor_id}))
        needed = wanted.get(hypervisor_id, frozenset())
        former[hypervisor_id] = union(here, needed) - needed
    return former


def members_of(service: Service, inventory: Inventory) -> tuple[Instance, ...]:
    """The instances that have connections or get some, those that drain with weight 0.

    Only those of the address's family: hypervisors translate addresses and not families.
    """
    return _of_family(inventory.pools[service.instance_pool_id].carried, inventory.load_balancer)


def _of_family(instances: tuple[Instance, ...], load_balancer: LoadBalancer) -> tuple[Instance, ...]:
    return tuple(each for each in instances if each.address.version == load_balancer.address.version)


def method_of(instance: Instance, service: Service) -> ForwardingMethod:
    """How the instance is reached for this service."""
    return instance.forwarding_method or service.forwarding_method


def demands_of(
    load_balancer: LoadBalancer, pools: Mapping[UUID, InstancePool], fallbacks: Mapping[IPAddress, Instance]
) -> tuple[Demand, ...]:
    """What the load balancer asks of the data planes that carry it; `fallbacks` are the sorry servers that exist."""
    found = list(demands.of_address(load_balancer.address))
    for service in load_balancer.services:
        sorry = fallbacks.get(service.health_check.sorry_server) if service.health_check.sorry_server else None
        members = _of_family(pools[service.instance_pool_id].carried, load_balancer)
        found += demands.of_service(service, members if sorry is None else (*members, sorry))
    return tuple(dict.fromkeys(found))


def wish_of(inventory: Inventory) -> Wish:
    """What it asks of LB nodes. Of two of one anti-affinity group, that with the higher identifier gives way."""
    load_balancer = inventory.load_balancer
    elder = [each for each in inventory.neighbours if each.load_balancer_id < load_balancer.id]
    return Wish(
        load_balancer_id=load_balancer.id,
        wanted=load_balancer.node_count,
        carriers=demands.carriers(demands_of(load_balancer, inventory.pools, inventory.fallbacks)),
        affinity=load_balancer.affinity,
        avoided=frozenset[UUID]().union(*(each.nodes for each in inventory.neighbours)),
        elders=frozenset[UUID]().union(*(each.nodes for each in elder)),
    )


def left_out(load_balancer: LoadBalancer, pools: Mapping[UUID, InstancePool]) -> tuple[str, ...]:
    """A sentence for each service with instances that cannot serve it because of their addresses."""
    family = load_balancer.address.version
    sentences = []
    for service in load_balancer.services:
        strangers = [one for one in pools[service.instance_pool_id].active if one.address.version != family]
        if strangers:
            names = ", ".join(f"{one.name} ({one.address})" for one in strangers)
            sentences.append(f"{names} cannot serve {service.name}: {load_balancer.address} is IPv{family}.")
    return tuple(sentences)


def _fallback(service: Service, inventory: Inventory) -> tuple[Instance, ...]:
    """The service's sorry server, while that instance exists."""
    address = service.health_check.sorry_server
    if address is None or address not in inventory.fallbacks:
        return ()
    return (inventory.fallbacks[address],)


def balancer_configuration(inventory: Inventory, *, announced: bool) -> BalancerConfiguration:
    """What an LB node carries: every service, with the instances whose hypervisor is known to be ready for them."""
    load_balancer = inventory.load_balancer
    reachable = {view.hypervisor.id for view in inventory.hypervisors if view.reachable}
    confirmed = _served_now(inventory)
    return BalancerConfiguration(
        load_balancer_id=load_balancer.id,
        version=version_of(inventory),
        address=load_balancer.address,
        hash_seed=load_balancer.hash_seed,
        announced=announced,
        services=tuple(
            _service(service, inventory, reachable, confirmed)
            for service in sorted(load_balancer.services, key=lambda service: (service.protocol, service.port))
        ),
    )


def _existing(service: Service, inventory: Inventory) -> Service:
    """Without a sorry server that is no instance any more: nobody would take what is sent to it."""
    if service.health_check.sorry_server is None or _fallback(service, inventory):
        return service
    return replace(service, health_check=replace(service.health_check, sorry_server=None))


def _service(
    service: Service,
    inventory: Inventory,
    reachable: Set[UUID],
    confirmed: Set[Confirmed],
) -> ServiceConfiguration:
    service = _existing(service, inventory)
    ready = [
        instance
        for instance in members_of(service, inventory)
        if method_of(instance, service) is not ForwardingMethod.TUNNEL
        or instance.hypervisor_id in reachable
        or any(
            (service.id, service.protocol, service.port, instance.id, instance.address, host) in confirmed
            for host in (instance.hypervisor_id, None)  # None: told by a release that did not say
        )
    ]
    return ServiceConfiguration(
        id=service.id,
        protocol=service.protocol,
        port=service.port,
        target_port=service.target_port,
        strategy=service.strategy,
        hash_source_port=service.hash_source_port,
        health_check=service.health_check,
        persistence=service.persistence,
        sorry_method=next((method_of(each, service) for each in _fallback(service, inventory)), _TUNNEL),
        backends=tuple(
            Backend(
                instance_id=instance.id,
                address=instance.address,
                weight=instance.weight,
                method=method_of(instance, service),
                hypervisor_id=instance.hypervisor_id if method_of(instance, service) is _TUNNEL else None,
            )
            for instance in sorted(ready, key=lambda instance: address_order(instance.address))
        ),
    )


def _served_now(inventory: Inventory) -> frozenset[Confirmed]:
    """Instances an LB node serves on a port already: their hypervisor had the rules, so a silent agent is no reason.

    One that has moved since is none of them: its new hypervisor never confirmed anything.
    """
    return frozenset(
        (service.id, service.protocol, service.port, backend.instance_id, backend.address, backend.hypervisor_id)
        for view in inventory.lb_nodes
        if view.balancer is not None
        for service in view.balancer.configuration.services
        for backend in service.backends
    )


def forwarding_configuration(inventory: Inventory, rules: Set[ForwardingRule]) -> ForwardingConfiguration:
    """A hypervisor's configuration with these rules, in a fixed order."""
    return ForwardingConfiguration(
        load_balancer_id=inventory.load_balancer.id, version=version_of(inventory), rules=tuple(sorted(rules))
    )


def together(existing: RulesByHypervisor, wanted: RulesByHypervisor) -> RulesByHypervisor:
    """The `union` on each hypervisor."""
    none: frozenset[ForwardingRule] = frozenset()
    return {each: union(existing.get(each, none), wanted.get(each, none)) for each in existing.keys() | wanted.keys()}


def union(existing: Set[ForwardingRule], wanted: Set[ForwardingRule]) -> frozenset[ForwardingRule]:
    """Existing rules stay beside the wanted ones, but for those that a wanted one replaces (same match)."""
    matches = {(rule.address, rule.protocol, rule.port, rule.instance) for rule in wanted}
    kept = {rule for rule in existing if (rule.address, rule.protocol, rule.port, rule.instance) not in matches}
    return frozenset(kept | wanted)

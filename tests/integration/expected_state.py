"""What users would ask of the API, written straight into the store."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID, uuid4

from sqlalchemy import Connection

from bascule.model.addresses import AddressPool, ElasticIP
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.model.instance_pools import Instance, InstancePool
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState, Service
from bascule.model.nodes import Hypervisor
from bascule.model.strategies import Protocol, Strategy
from bascule.store import (
    address_pools,
    changes,
    elastic_ips,
    instance_pools,
    instances,
    load_balancers,
    services,
)
from bascule.store.times import from_seconds


def create_pool(connection: Connection, hosts: tuple[Hypervisor, ...]) -> UUID:
    """An address pool of one address, and an instance pool of three instances spread over the hypervisors."""
    address_pools.insert(connection, AddressPool(id=uuid4(), name="public", network=IPv4Network("203.0.113.7/32")))
    pool = InstancePool(id=uuid4(), name="web")
    instance_pools.insert(connection, pool, template={}, now=0.0)
    for number in range(3):
        instance = Instance(
            id=uuid4(),
            name=f"vm{number}",
            address=IPv4Address("10.0.0.1") + number,
            hypervisor_id=hosts[number % len(hosts)].id,
        )
        instances.insert(connection, pool.id, instance)
    return pool.id


def create_load_balancer(connection: Connection, pool_id: UUID, *, now: float) -> tuple[UUID, UUID]:
    """A load balancer with one service on the pool; returns it and the operation to wait for."""
    identifier = uuid4()
    address, address_pool_id = elastic_ips.choose(connection, None)
    load_balancers.insert(
        connection,
        LoadBalancer(
            id=identifier, name="lb", address=address, hash_seed=1, generation=0, created_at=from_seconds(now)
        ),
    )
    held = ElasticIP(id=uuid4(), address=address, address_pool_id=address_pool_id, load_balancer_id=identifier)
    elastic_ips.insert(connection, held, managed=True, now=now)
    service = Service(
        id=uuid4(),
        name="http",
        protocol=Protocol.TCP,
        port=80,
        target_port=8080,
        strategy=Strategy.MAGLEV_HASH,
        instance_pool_id=pool_id,
        health_check=HealthCheck(mode=HealthCheckMode.TCP, port=8080),
    )
    services.insert(connection, identifier, service)
    return identifier, changes.to_load_balancer(connection, identifier, command="create", now=now).id


def shrink_pool(connection: Connection, pool_id: UUID, size: int, *, now: float) -> UUID:
    """Fewer members serve; returns the operation to wait for."""
    instance_pools.update(connection, replace(instance_pools.get(connection, pool_id), size=size))
    return changes.to_instance_pool(connection, pool_id, command="scale", now=now).id


def mark_deleting(connection: Connection, load_balancer_id: UUID, *, now: float) -> UUID:
    """A user deletes it; returns the operation to wait for."""
    load_balancers.set_state(connection, load_balancer_id, LoadBalancerState.DELETING)
    return changes.to_load_balancer(connection, load_balancer_id, command="delete", now=now).id

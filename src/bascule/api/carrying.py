"""Whether any LB node can carry what is asked for: refused here, with the reason, and not later by an operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection

from bascule.model import demands
from bascule.model.addresses import IPAddress
from bascule.model.data_planes import DataPlaneName
from bascule.model.demands import Demand
from bascule.model.errors import Conflict, InvalidInput
from bascule.model.instance_pools import Instance
from bascule.model.load_balancers import LoadBalancer, Service
from bascule.model.virtual_services import ForwardingMethod
from bascule.store import instance_pools, instances, lb_nodes


def check_address(connection: Connection, address: IPAddress) -> None:
    """Raises Conflict when no LB node can carry the address."""
    _refuse_unmet(demands.of_address(address), _available(connection))


def check_affinity(connection: Connection, affinity: Mapping[str, str]) -> None:
    """Raises Conflict when there are LB nodes and none has all these labels."""
    enabled = [node for node in lb_nodes.list_all(connection) if node.enabled]
    if enabled and not any(affinity.items() <= node.labels.items() for node in enabled):
        labels = ", ".join(f"{key}={value}" for key, value in sorted(affinity.items()))
        raise Conflict(
            f"No enabled LB node has the labels {labels}: ask for others, or give them to nodes (bascule node set NODE"
            " --label KEY=VALUE).",
            field="affinity",
        )


def check_service(connection: Connection, load_balancer: LoadBalancer, service: Service) -> None:
    """See that a new or changed service can be carried, together with the load balancer's others.

    Raises InvalidInput for what can never be, and Conflict for what no LB node can carry. A change that asks for
    nothing new passes: whoever renames a service is not told of nodes that went away.
    """
    members = _members(connection, load_balancer, service)
    _check_persistence(load_balancer, service)
    _check_ports(service, members)
    others = tuple(other for other in load_balancer.services if other.id != service.id)
    present = next((one for one in load_balancer.services if one.id == service.id), None)
    wanted = demands.of_service(service, members)
    if present is not None and set(wanted) <= set(demands.of_service(present, members)):
        return
    base = [*demands.of_address(load_balancer.address)]
    for other in others:
        base += demands.of_service(other, _members(connection, load_balancer, other))
    available = _available(connection)
    # Others that no node can carry now are not this request's fault.
    if demands.unmet(base, available) is not None:
        base = []
    _refuse_unmet((*base, *wanted), available)


def check_instance(connection: Connection, users: Iterable[tuple[LoadBalancer, Service]], instance: Instance) -> None:
    """See that the services of an instance's pool can use the method it wants. Raises as `check_service` does."""
    if instance.forwarding_method is None:
        return
    available = _available(connection)
    for load_balancer, service in users:
        if instance.address.version != load_balancer.address.version:
            continue
        _check_ports(service, [instance], field="forwarding-method")
        everything = [*demands.of_address(load_balancer.address)]
        for one in load_balancer.services:
            everything += demands.of_service(one, _members(connection, load_balancer, one))
        base = () if demands.unmet(everything, available) else everything
        own = demands.of_service(replace(service, forwarding_method=instance.forwarding_method))
        _refuse_unmet((*base, *own), available)


def check_pool(connection: Connection, load_balancer: LoadBalancer, service: Service) -> None:
    """Raises InvalidInput when the pool has members, and none of the address's family: addresses are not translated."""
    members = instance_pools.get(connection, service.instance_pool_id).members
    family = load_balancer.address.version
    if members and all(member.address.version != family for member in members):
        raise InvalidInput(
            f"Every instance of the pool has an IPv{members[0].address.version} address and {load_balancer.name} an"
            f" IPv{family} one ({load_balancer.address}): use a pool with IPv{family} instances.",
            field="instance-pool.id",
        )


def _available(connection: Connection) -> frozenset[DataPlaneName]:
    """What the enabled LB nodes run. An installation without any gets its first node later: then, all."""
    running = frozenset(node.data_plane for node in lb_nodes.list_all(connection) if node.enabled)
    return running or frozenset(DataPlaneName)


def _members(connection: Connection, load_balancer: LoadBalancer, service: Service) -> list[Instance]:
    """Whom the service may send to: also those that stand by, which a scaling brings in."""
    members = list(instance_pools.get(connection, service.instance_pool_id).members)
    if service.health_check.sorry_server is not None:
        members += instances.by_address(connection, [service.health_check.sorry_server])
    return [member for member in members if member.address.version == load_balancer.address.version]


def _check_ports(service: Service, members: Iterable[Instance], *, field: str = "target-port") -> None:
    if service.port == service.target_port:
        return
    if service.forwarding_method is ForwardingMethod.DIRECT:
        raise InvalidInput(
            f"With the forwarding method direct nobody translates ports: make target-port {service.port}, or use"
            " another method.",
            field="target-port",
        )
    direct = next((one for one in members if one.forwarding_method is ForwardingMethod.DIRECT), None)
    if direct is not None:
        raise InvalidInput(
            f"Instance {direct.name} is reached with the forwarding method direct, which translates no ports, and"
            f" service {service.name} sends port {service.port} to {service.target_port}: make both the same.",
            field=field,
        )


def _check_persistence(load_balancer: LoadBalancer, service: Service) -> None:
    """The kernel knows the mask 0 of IPv4 alone (ip_vs_ctl.c, ip_vs_add_service)."""
    if service.persistence is None or service.persistence.prefix_length is None:
        return
    least, most = (0, 32) if load_balancer.address.version == 4 else (1, 128)
    if not least <= service.persistence.prefix_length <= most:
        raise InvalidInput(
            f"persistence.prefix-length is {least} to {most} for {load_balancer.address}.",
            field="persistence.prefix-length",
        )


def _refuse_unmet(wanted: Iterable[Demand], available: frozenset[DataPlaneName]) -> None:
    problem = demands.unmet(wanted, available)
    if problem is not None:
        field, sentence = problem
        raise Conflict(sentence, field=field)

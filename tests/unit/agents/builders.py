"""Short ways to write the configurations that tests need."""

from __future__ import annotations

from ipaddress import IPv4Address
from uuid import UUID

from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration, Version
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.model.reports import BalancerReport, BalancerState
from bascule.model.strategies import Protocol, Strategy

VIP = IPv4Address("192.0.2.1")


def backend(number: int, *, weight: int = 1) -> Backend:
    """Instance `number`, at 10.0.0.<number>."""
    return Backend(instance_id=UUID(int=number), address=IPv4Address("10.0.0.0") + number, weight=weight)


def service(*backends: Backend, port: int = 80, number: int = 1) -> ServiceConfiguration:
    """TCP on `port` to port 8080 of the backends."""
    return ServiceConfiguration(
        id=UUID(int=number),
        protocol=Protocol.TCP,
        port=port,
        target_port=8080,
        strategy=Strategy.MAGLEV_HASH,
        health_check=HealthCheck(mode=HealthCheckMode.TCP, port=8080, timeout=1),
        backends=backends,
    )


def balancer(
    *services: ServiceConfiguration,
    number: int = 1,
    address: IPv4Address = VIP,
    generation: int = 1,
    epoch: int = 1,
    announced: bool = True,
) -> BalancerConfiguration:
    """Load balancer `number`."""
    return BalancerConfiguration(
        load_balancer_id=UUID(int=number),
        version=Version(epoch, generation),
        address=address,
        hash_seed=42,
        announced=announced,
        services=services,
    )


def balancer_state(generation: int) -> BalancerState:
    """What an LB node has of a load balancer that it serves."""
    configuration = balancer(service(backend(1)), generation=generation)
    report = BalancerReport(configuration=configuration, ready=True, announced=True)
    return BalancerState(data_plane_name="xdp", problems=(), balancer=report, services=())

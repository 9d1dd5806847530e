"""Bodies of the public API, version 2: the shapes of Exoscale's, so that its clients work unchanged.

Ours beyond it: `ip` when a load balancer or an elastic IP is created, `hash-source-port` of a service, and health check
intervals from 1 second (theirs begin at 5), more modes of health checks and the fields of `health_check_options`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from bascule.model.health_checks import HealthCheckMode
from bascule.model.strategies import EVERYWHERE, Protocol, Strategy
from bascule.wire.fields import Address, Body, Description, HostName, Identifier, Labels, Name, Port, Uri
from bascule.wire.health_check_options import HealthCheckOptions


def _offered(strategy: Strategy) -> Strategy:
    if strategy not in EVERYWHERE:
        raise ValueError(f"{strategy} is a strategy of IPVS alone: use {', '.join(sorted(EVERYWHERE))}")
    return strategy


# Enumerations arrive as strings, which strict mode would refuse.
_Mode = Annotated[HealthCheckMode, Field(strict=False)]
_Protocol = Annotated[Protocol, Field(strict=False)]
# Those that every LB node has, whatever its data plane.
_Strategy = Annotated[
    Strategy,
    Field(strict=False),
    AfterValidator(_offered),
    WithJsonSchema({"type": "string", "enum": sorted(EVERYWHERE)}),
]
POOL_SIZE_MAX = 10_000
_Size = Annotated[int, Field(ge=1, le=POOL_SIZE_MAX)]
_DiskSize = Annotated[int, Field(ge=10, le=51200)]


class Reference(Body):
    """An object named by its identifier."""

    id: Identifier


class LoadBalancerCreate(Body):
    """`ip` must be free and inside an address pool, or an elastic IP that nothing uses."""

    name: Name
    description: Description = ""
    labels: Labels = Field(default_factory=dict)
    ip: Address | None = None


class LoadBalancerUpdate(Body):
    """What is left out stays."""

    name: Name | None = None
    description: Description | None = None
    labels: Labels | None = None


class HealthCheckBody(HealthCheckOptions):
    """Durations are seconds. What is left out takes its default, or stays in an update."""

    mode: _Mode | None = None
    port: Port | None = None
    interval: Annotated[int, Field(ge=1, le=300)] | None = None
    timeout: Annotated[int, Field(ge=1, le=60)] | None = None
    retries: Annotated[int, Field(ge=1, le=20)] | None = None
    uri: Uri | None = None
    tls_sni: HostName | None = None


class ServiceCreate(Body):
    """`hash-source-port` false keeps all connections of one client on one instance."""

    name: Name
    description: Description = ""
    protocol: _Protocol
    port: Port
    target_port: Port
    strategy: _Strategy
    hash_source_port: bool = True
    instance_pool: Reference
    healthcheck: HealthCheckBody


class ServiceUpdate(Body):
    """What is left out stays. A service keeps its instance pool for life."""

    name: Name | None = None
    description: Description | None = None
    protocol: _Protocol | None = None
    port: Port | None = None
    target_port: Port | None = None
    strategy: _Strategy | None = None
    hash_source_port: bool | None = None
    healthcheck: HealthCheckBody | None = None


class InstancePoolCreate(Body):
    """`instance-type`, `template` and `disk-size` are kept and given back; they are for who starts the machines."""

    name: Name
    size: _Size
    description: Description = ""
    labels: Labels = Field(default_factory=dict)
    instance_type: Reference | None = None
    template: Reference | None = None
    disk_size: _DiskSize | None = None


class InstancePoolUpdate(Body):
    """What is left out stays."""

    name: Name | None = None
    description: Description | None = None
    labels: Labels | None = None
    instance_type: Reference | None = None
    template: Reference | None = None
    disk_size: _DiskSize | None = None


class InstancePoolScale(Body):
    """How many members serve from now on."""

    size: _Size


class InstancePoolEvict(Body):
    """The members that serve no more."""

    instances: Annotated[list[Identifier], Field(min_length=1, max_length=POOL_SIZE_MAX)]


class ElasticIPCreate(Body):
    """`ip` must be free and inside an address pool."""

    description: Description = ""
    labels: Labels = Field(default_factory=dict)
    addressfamily: Literal["inet4"] = "inet4"
    ip: Address | None = None


class ElasticIPUpdate(Body):
    """What is left out stays."""

    description: Description | None = None
    labels: Labels | None = None


class ElasticIPInstance(Body):
    """The instance to attach or detach."""

    instance: Reference

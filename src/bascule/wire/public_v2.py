"""Bodies of the public API, version 2: the shapes of Exoscale's, so that its clients work unchanged.

Ours beyond it: `ip` when a load balancer or an elastic IP is created, `addressfamily`, `node-count`, `affinity` and
`anti-affinity` of a load balancer, `hash-source-port`, `forwarding-method` and `persistence` of a service, more
strategies, health check intervals from 1 second (theirs begin at 5), more modes of health checks and the fields of
`health_check_options`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from bascule.model.health_checks import HealthCheckMode
from bascule.model.placements import NODES_MOST, NODES_PER_LOAD_BALANCER
from bascule.model.strategies import ALIASES, Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod
from bascule.wire.fields import (
    Address,
    AddressFamily,
    Body,
    Description,
    DrainDeadline,
    HostName,
    Identifier,
    Labels,
    Name,
    Port,
    Uri,
)
from bascule.wire.health_check_options import HealthCheckOptions


def _by_any_name(value: object) -> object:
    return ALIASES.get(value, value) if isinstance(value, str) else value


def _never_local(method: ForwardingMethod) -> ForwardingMethod:
    if method is ForwardingMethod.LOCAL:
        raise ValueError("an LB node sees by itself which instances are its own: use tunnel, direct or translation")
    return method


# Enumerations arrive as strings, which strict mode would refuse.
_Mode = Annotated[HealthCheckMode, Field(strict=False)]
_Protocol = Annotated[Protocol, Field(strict=False)]
_Strategy = Annotated[
    Strategy,
    Field(strict=False),
    BeforeValidator(_by_any_name),
    WithJsonSchema({"type": "string", "enum": [*sorted(Strategy), *sorted(ALIASES)]}),
]
Method = Annotated[
    ForwardingMethod,
    Field(strict=False),
    AfterValidator(_never_local),
    WithJsonSchema({"type": "string", "enum": sorted(set(ForwardingMethod) - {ForwardingMethod.LOCAL})}),
]
PERSISTENCE_MAX = 31 * 86_400  # seconds: what ipvsadm and keepalived take (LVS_MAX_TIMEOUT)
POOL_SIZE_MAX = 10_000
_Size = Annotated[int, Field(ge=1, le=POOL_SIZE_MAX)]
_NodeCount = Annotated[int, Field(ge=1, le=NODES_MOST)]
_DiskSize = Annotated[int, Field(ge=10, le=51200)]


class Reference(Body):
    """An object named by its identifier."""

    id: Identifier


class LoadBalancerCreate(Body):
    """`ip` must be free and inside an address pool, or an elastic IP that nothing uses.

    Without it the lowest free one is taken, of IPv4 unless `addressfamily` says otherwise. It is carried by
    `node-count` LB nodes that have all labels of `affinity`, of different failure domains where there are enough; load
    balancers of one `anti-affinity` group avoid each other's.
    """

    name: Name
    description: Description = ""
    labels: Labels = Field(default_factory=dict)
    addressfamily: AddressFamily | None = None
    ip: Address | None = None
    node_count: _NodeCount = NODES_PER_LOAD_BALANCER
    affinity: Labels = Field(default_factory=dict)
    anti_affinity: Description = ""


class LoadBalancerUpdate(Body):
    """What is left out stays; an empty `affinity` or `anti-affinity` asks for nothing any more."""

    name: Name | None = None
    description: Description | None = None
    labels: Labels | None = None
    node_count: _NodeCount | None = None
    affinity: Labels | None = None
    anti_affinity: Description | None = None


class HealthCheckBody(HealthCheckOptions):
    """Durations are seconds. What is left out takes its default, or stays in an update."""

    mode: _Mode | None = None
    port: Port | None = None
    interval: Annotated[int, Field(ge=1, le=300)] | None = None
    timeout: Annotated[int, Field(ge=1, le=60)] | None = None
    retries: Annotated[int, Field(ge=1, le=20)] | None = None
    uri: Uri | None = None
    tls_sni: HostName | None = None


class PersistenceBody(Body):
    """Keeps a client on its instance for `timeout` seconds; clients of one network of `prefix-length` bits are one."""

    timeout: Annotated[int, Field(ge=1, le=PERSISTENCE_MAX)]
    prefix_length: Annotated[int, Field(ge=0, le=128)] | None = None


class ServiceCreate(Body):
    """`hash-source-port` false keeps all connections of one client on one instance."""

    name: Name
    description: Description = ""
    protocol: _Protocol
    port: Port
    target_port: Port
    strategy: _Strategy
    hash_source_port: bool = True
    forwarding_method: Method = ForwardingMethod.TUNNEL
    persistence: PersistenceBody | None = None
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
    forwarding_method: Method | None = None
    persistence: PersistenceBody | None = None
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
    """How many members serve from now on.

    `drain-deadline` is how long, in seconds, the others keep their connections at most; 0 is not at all.
    """

    size: _Size
    drain_deadline: DrainDeadline | None = None


class InstancePoolEvict(Body):
    """The members that serve no more. They keep their connections for `drain-deadline` seconds at most."""

    instances: Annotated[list[Identifier], Field(min_length=1, max_length=POOL_SIZE_MAX)]
    drain_deadline: DrainDeadline | None = None


class ElasticIPCreate(Body):
    """`ip` must be free and inside an address pool."""

    description: Description = ""
    labels: Labels = Field(default_factory=dict)
    addressfamily: AddressFamily | None = None
    ip: Address | None = None


class ElasticIPUpdate(Body):
    """What is left out stays."""

    description: Description | None = None
    labels: Labels | None = None


class ElasticIPInstance(Body):
    """The instance to attach or detach."""

    instance: Reference

"""Bodies of the operators' API, version 1: a load balancer as its LB nodes' kernels had it a moment ago."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.health_checks import Health
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ForwardingMethod
from bascule.wire.fields import View


class BackendStateView(View):
    """One backend. `weight` is null while the data plane does not have it; the counts are since it was loaded.

    `instance` is its name; null for what is no instance of the service's pool (its sorry server, a foreign entry).
    """

    address: IPAddress
    port: int
    method: ForwardingMethod
    weight: int | None
    active_connections: int = 0
    inactive_connections: int = 0
    packets: int = 0
    bytes: int = 0
    instance: str | None = None
    health: Health | None = None
    message: str = ""


class ServiceStateView(View):
    """One virtual server. `scheduler` is the data plane's word, "" while the data plane does not have it."""

    name: str | None
    protocol: Protocol
    address: IPAddress
    port: int
    scheduler: str
    packets: int
    bytes: int
    backends: list[BackendStateView]


class NodeStateView(View):
    """One LB node that carries the load balancer, as it was at `observed_at`, `age` seconds ago (null: never seen).

    A node that does not answer has a sentence in `problems`.
    """

    lb_node: UUID
    name: str
    data_plane: str
    answers: bool
    observed_at: datetime | None = None
    age: float | None = None
    ready: bool = False
    announced: bool = False
    problems: list[str]
    services: list[ServiceStateView]


class LoadBalancerStateView(View):
    """`remarks` are sentences about what was asked for and cannot be so."""

    id: UUID
    name: str
    remarks: list[str]
    lb_nodes: list[NodeStateView]

"""Bodies of the operators' API, version 1. Tokens and secrets go in and never come out, but for a new API key's."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.data_planes import DataPlaneName
from bascule.model.instance_pools import WEIGHT_MAX
from bascule.model.nodes import Silence
from bascule.model.virtual_services import ForwardingMethod
from bascule.wire.fields import (
    AgentUrl,
    Body,
    Description,
    Identifier,
    Labels,
    MachineAddress,
    Name,
    Network,
    Token,
    View,
)
from bascule.wire.public_v2 import POOL_SIZE_MAX, Method

_Weight = Annotated[int, Field(ge=0, le=WEIGHT_MAX)]
_DataPlane = Annotated[DataPlaneName, Field(strict=False)]


class LBNodeCreate(Body):
    """`agent-token` is the token that the LB agent wants. Nodes of one failure domain may die together.

    Without one a node is a domain of its own. `labels` are what load balancers may ask for by their affinity.
    `data-plane` is what the agent runs (BASCULE_DATAPLANE): it decides which services can come to the node.
    """

    name: Name
    agent_url: AgentUrl
    agent_token: Token
    failure_domain: Description = ""
    enabled: bool = True
    data_plane: _DataPlane = DataPlaneName.XDP
    labels: Labels = Field(default_factory=dict)


class LBNodeUpdate(Body):
    """What is left out stays. A disabled node's load balancers move to others."""

    name: Name | None = None
    agent_url: AgentUrl | None = None
    agent_token: Token | None = None
    failure_domain: Description | None = None
    enabled: bool | None = None
    data_plane: _DataPlane | None = None
    labels: Labels | None = None


class LBNodeView(View):
    """An LB node; `load-balancers` counts what it carries. `drain-until`: it drains, until then at most.

    `silent-since` is when its agent stopped to answer. `silence` says what becomes of a silent one: it waits for the
    grace time to end, its load balancers are `replaced`, or that is `held` because too many are silent.
    """

    id: UUID
    name: str
    agent_url: str
    failure_domain: str
    enabled: bool
    drain_until: datetime | None = None
    data_plane: DataPlaneName = DataPlaneName.XDP
    load_balancers: int
    labels: dict[str, str] = Field(default_factory=dict)
    silent_since: datetime | None = None
    silence: Silence = Silence.ANSWERS


class LBNodesView(View):
    """Every LB node."""

    lb_nodes: list[LBNodeView]


class Rebalance(Body):
    """At most so many load balancers move at the same time, with those that are moving already."""

    at_most: Annotated[int, Field(ge=1, le=1000)] = 10


class RebalanceView(View):
    """How many load balancers move now, how many were moving already, and how many moves are left for later."""

    moved: int
    under_way: int
    left: int


class HypervisorCreate(Body):
    """`agent-token` is the token that the hypervisor agent wants."""

    name: Name
    agent_url: AgentUrl
    agent_token: Token


class HypervisorUpdate(Body):
    """What is left out stays."""

    name: Name | None = None
    agent_url: AgentUrl | None = None
    agent_token: Token | None = None


class HypervisorView(View):
    """A hypervisor."""

    id: UUID
    name: str
    agent_url: str


class HypervisorsView(View):
    """Every hypervisor."""

    hypervisors: list[HypervisorView]


class AddressPoolCreate(Body):
    """Every address of the network can be given to a load balancer, the first and the last too."""

    name: Name
    network: Network


class AddressPoolView(View):
    """An address pool; `taken` counts its addresses in use."""

    id: UUID
    name: str
    network: IPNetwork
    taken: int


class AddressPoolsView(View):
    """Every address pool."""

    address_pools: list[AddressPoolView]


class InstancePoolCreate(Body):
    """Without a size every member serves."""

    name: Name
    size: Annotated[int, Field(ge=1, le=POOL_SIZE_MAX)] | None = None
    description: Description = ""


class InstanceCreate(Body):
    """`hypervisor` is a name or an identifier. Weight 0 keeps connections and gives no new ones.

    `forwarding-method` is how this one is reached, whatever its services say.
    """

    name: Name
    address: MachineAddress
    hypervisor: Name
    weight: _Weight = 1
    forwarding_method: Method | None = None


class InstanceUpdate(Body):
    """What is left out stays; `evicted` false lets an evicted member serve again.

    `forwarding-method` "as-service" leaves it to the services again. `moving-to` is the hypervisor that is to get ready
    for the member before it moves there, by name or identifier; naming the one where it is calls the move off.
    """

    name: Name | None = None
    address: MachineAddress | None = None
    hypervisor: Name | None = None
    moving_to: Name | None = None
    weight: _Weight | None = None
    forwarding_method: Literal["tunnel", "direct", "translation", "as-service"] | None = None
    evicted: bool | None = None


class InstanceView(View):
    """A member of a pool; `active` when it serves now, `stopped` when its machine was said to be.

    `drained`: people asked it to take no new connections. `leaving`: it goes when it has no connections to keep.
    `drain-until`: it keeps those that it has, until then at most.
    `moving-to` is the hypervisor that it is about to move to.
    """

    id: UUID
    name: str
    address: IPAddress
    hypervisor: UUID
    moving_to: UUID | None = None
    weight: int
    forwarding_method: ForwardingMethod | None = None
    evicted: bool
    stopped: bool = False
    drained: bool = False
    leaving: bool = False
    drain_until: datetime | None = None
    active: bool


class InstancePoolView(View):
    """A pool with all its members."""

    id: UUID
    name: str
    description: str
    size: int | None
    instances: list[InstanceView]


class InstancePoolsView(View):
    """Every instance pool."""

    instance_pools: list[InstancePoolView]


class ApiKeyCreate(Body):
    """Say in the name who uses it."""

    name: Name


class ApiKeyView(View):
    """An API key without its secret."""

    key: str
    name: str
    created_at: datetime


class NewApiKeyView(ApiKeyView):
    """The only answer that shows the secret."""

    secret: str


class ApiKeysView(View):
    """Every API key."""

    api_keys: list[ApiKeyView]


class Reconcile(Body):
    """Meant are the load balancers of `ids`, of them those with all `labels`; without either, every one.

    `priority` says before whom they run: what users wait for comes first, what is done periodically last.
    """

    ids: Annotated[list[Identifier], Field(max_length=10_000)] | None = None
    labels: Labels = Field(default_factory=dict)
    priority: Literal["user", "operator", "event", "periodic"] = "operator"


class ReconcileView(View):
    """How many reconciliations were asked for."""

    requested: int

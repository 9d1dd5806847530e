"""Bodies of the operators' API, version 1: what a change would do."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from bascule.wire.fields import Body, View


class PlanCreate(Body):
    """A change as it would be sent: `path` without the host, such as "/v2/instance-pool/…:scale"."""

    method: Literal["POST", "PUT", "DELETE"]
    path: Annotated[str, Field(min_length=1, max_length=1024)]
    body: dict[str, Any] = Field(default_factory=dict)


class PlannedStepView(View):
    """One node of a job's tree; `path` is its place, as in "1.2.3"."""

    path: str
    node: str
    title: str


class ForecastView(View):
    """A service that changes on an LB node. Shares are 0 to 1; null is not known.

    `moved`: share of clients whose new connections go to another instance. `cut`: share of connections that break.
    `connections` are open now, `connections-cut` of them to instances that leave. `remembered-for`: seconds for which
    at least the node remembers where older connections of moved slots are.
    """

    lb_node: str
    service: str
    moved: float | None
    cut: float | None
    connections: int | None
    connections_cut: int | None
    remembered_for: float | None
    sentence: str


class LoadBalancerPlanView(View):
    """What would become of one load balancer. Without steps nothing would be done: `sentence` says why."""

    id: UUID
    name: str
    sentence: str
    steps: list[PlannedStepView]
    touches: list[str]
    services: list[ForecastView]
    remarks: list[str]


class PlanView(View):
    """`others` load balancers are touched besides, and not looked at."""

    load_balancers: list[LoadBalancerPlanView]
    others: int

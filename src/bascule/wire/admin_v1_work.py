"""Bodies of the operators' API, version 1: what the orchestrator does, and what becomes of a load balancer."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import JsonValue

from bascule.model.health_checks import Health
from bascule.wire.fields import View
from bascule.wire.public_v2_views import LoadBalancerView


class QueueEntryView(View):
    """One entity in the queue; times are null while they do not apply."""

    kind: str
    id: str
    waiting: bool
    priority: int
    due_at: datetime
    attempts: int
    last_error: str
    reasons: list[str]
    epoch: int
    lease_holder: str | None
    lease_until: datetime | None
    tenant: str
    paged_at: datetime | None


class QueueView(View):
    """The queue, the next to run first."""

    entries: list[QueueEntryView]


class JobView(View):
    """One job.

    `entity-name` is null once the entity is gone. `priority` and `reasons` say why it ran, as the queue does; null once
    the queue says something newer.
    """

    id: UUID
    kind: str
    entity_id: str
    epoch: int
    event: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    error: str
    cancel_requested_at: datetime | None
    entity_name: str | None = None
    priority: int | None = None
    reasons: list[str] | None = None


class JobsView(View):
    """Jobs, the newest first."""

    jobs: list[JobView]


class JobStepView(View):
    """One node of a job's tree; `path` is its place, as in "1.2.3".

    `input` is what a step was given, `output` what it answered, both without secrets; null where there is none.
    """

    path: str
    node: str
    title: str
    state: str
    started_at: datetime | None
    ended_at: datetime | None
    error: str
    input: JsonValue
    output: JsonValue


class JobTreeView(JobView):
    """A job with its steps, read from the top of the tree."""

    steps: list[JobStepView]


class DriftFindingView(View):
    """A difference between a node and the expected state; `resolved-at` is null while it lasts."""

    id: UUID
    kind: str
    node: str
    node_id: UUID
    load_balancer: UUID
    what: str
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None


class DriftView(View):
    """Findings, the newest first."""

    findings: list[DriftFindingView]


class MachineEventView(View):
    """What an event meant: register, change, remove or nothing."""

    meaning: str


class HealthStatusView(View):
    """One LB node's verdict on one instance of one service."""

    lb_node: UUID
    service: UUID
    instance: UUID
    health: Health
    message: str
    observed_at: datetime


class PlacementView(View):
    """An LB node that carries the load balancer."""

    lb_node: UUID
    name: str
    enabled: bool


class LoadBalancerDetailView(LoadBalancerView):
    """What operators see of a load balancer beside what its owner sees."""

    generation: int
    placements: list[PlacementView]
    health: list[HealthStatusView]
    queue: QueueEntryView | None

"""Load balancers, as their owners and as operators reach them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.model.addresses import IPAddress
from bascule.wire.admin_v1 import ReconcileView
from bascule.wire.admin_v1_state import LoadBalancerStateView
from bascule.wire.admin_v1_work import LoadBalancerDetailView
from bascule.wire.public_v2_views import LoadBalancersView, LoadBalancerView, OperationView


class LoadBalancers:
    """/v2/load-balancer"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self) -> list[LoadBalancerView]:
        """Every load balancer, oldest first."""
        return LoadBalancersView.model_validate(self._transport.get("/v2/load-balancer")).load_balancers

    def get(self, load_balancer_id: UUID) -> LoadBalancerView:
        """One load balancer. Raises NotFound."""
        return LoadBalancerView.model_validate(self._transport.get(f"/v2/load-balancer/{load_balancer_id}"))

    def create(
        self,
        *,
        name: str,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        ip: IPAddress | None = None,
        addressfamily: str | None = None,
        **placing: object,
    ) -> OperationView:
        """Create one; `placing` may have node_count, affinity and anti_affinity.

        Raises Taken, Exhausted, InvalidInput or Conflict for its address, and Conflict for its affinity.
        """
        body = body_of(name=name, description=description, labels=labels, ip=ip, addressfamily=addressfamily, **placing)
        return OperationView.model_validate(self._transport.post("/v2/load-balancer", body))

    def update(
        self,
        load_balancer_id: UUID,
        *,
        name: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        **placing: object,
    ) -> OperationView:
        """Change what is given; `placing` as in `create`. Raises Conflict for an affinity that no LB node has."""
        body = body_of(name=name, description=description, labels=labels, **placing)
        return OperationView.model_validate(self._transport.put(f"/v2/load-balancer/{load_balancer_id}", body))

    def delete(self, load_balancer_id: UUID) -> OperationView:
        """Stop serving and give up the address."""
        return OperationView.model_validate(self._transport.delete(f"/v2/load-balancer/{load_balancer_id}"))


class AdminLoadBalancers:
    """/admin/v1/load-balancers"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, load_balancer_id: UUID) -> LoadBalancerDetailView:
        """One load balancer with placements, health by LB node and its place in the queue."""
        answer = self._transport.get(f"/admin/v1/load-balancers/{load_balancer_id}")
        return LoadBalancerDetailView.model_validate(answer)

    def state(self, load_balancer_id: UUID) -> LoadBalancerStateView:
        """What the LB nodes that carry it have of it, as the orchestrator saw it some seconds ago."""
        answer = self._transport.get(f"/admin/v1/load-balancers/{load_balancer_id}/state")
        return LoadBalancerStateView.model_validate(answer)

    def reconcile(
        self,
        load_balancer_ids: Sequence[UUID] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        priority: str | None = None,
    ) -> int:
        """Ask for the reconciliation of these, of those with all labels, or of all; returns how many.

        `priority` is user, operator (which it is if left out), event or periodic.
        """
        ids = None if load_balancer_ids is None else list(load_balancer_ids)
        body = body_of(ids=ids, labels=None if labels is None else dict(labels), priority=priority)
        answer = self._transport.post("/admin/v1/load-balancers:reconcile", body)
        return ReconcileView.model_validate(answer).requested

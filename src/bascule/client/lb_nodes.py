"""LB nodes."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.model.data_planes import DataPlaneName
from bascule.wire.admin_v1 import LBNodesView, LBNodeView, RebalanceView


class LBNodes:
    """/admin/v1/lb-nodes"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self) -> list[LBNodeView]:
        """Every LB node, by name."""
        return LBNodesView.model_validate(self._transport.get("/admin/v1/lb-nodes")).lb_nodes

    def get(self, node_id: UUID) -> LBNodeView:
        """One LB node. Raises NotFound."""
        return LBNodeView.model_validate(self._transport.get(f"/admin/v1/lb-nodes/{node_id}"))

    def create(
        self,
        *,
        name: str,
        agent_url: str,
        agent_token: str,
        failure_domain: str = "",
        enabled: bool = True,
        data_plane: DataPlaneName | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> LBNodeView:
        """Register an LB node; `data_plane` is what its agent runs. Raises Taken when another has the name."""
        body = body_of(
            name=name,
            agent_url=agent_url,
            agent_token=agent_token,
            failure_domain=failure_domain,
            enabled=enabled,
            data_plane=data_plane,
            labels=labels,
        )
        return LBNodeView.model_validate(self._transport.post("/admin/v1/lb-nodes", body))

    def update(self, node_id: UUID, **given: object) -> LBNodeView:
        """Change what is given, by the names of `create`."""
        return LBNodeView.model_validate(self._transport.put(f"/admin/v1/lb-nodes/{node_id}", body_of(**given)))

    def rebalance(self, at_most: int = 10) -> RebalanceView:
        """Let so many load balancers move from full nodes to emptier ones at the same time."""
        answer = self._transport.post("/admin/v1/lb-nodes:rebalance", body_of(at_most=at_most))
        return RebalanceView.model_validate(answer)

    def delete(self, node_id: UUID, *, dead: bool = False) -> None:
        """Forget an LB node. Raises InUse until it is disabled, and carries nothing or is `dead`."""
        self._transport.delete(f"/admin/v1/lb-nodes/{node_id}{'?dead=true' if dead else ''}")

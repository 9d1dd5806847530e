"""Services of load balancers."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.wire.public_v2_views import OperationView, ServiceView


class Services:
    """/v2/load-balancer/{id}/service"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, load_balancer_id: UUID, service_id: UUID) -> ServiceView:
        """One service with its instances' health. Raises NotFound."""
        return ServiceView.model_validate(self._transport.get(_path(load_balancer_id, service_id)))

    def add(
        self,
        load_balancer_id: UUID,
        *,
        name: str,
        protocol: str,
        port: int,
        target_port: int,
        instance_pool: UUID,
        healthcheck: Mapping[str, object],
        strategy: str = "maglev-hash",
        hash_source_port: bool | None = None,
        forwarding_method: str | None = None,
        persistence: Mapping[str, int] | None = None,
        description: str | None = None,
    ) -> OperationView:
        """Serve another port. `healthcheck` has the public API's fields: mode, port, interval, uri and so on.

        `persistence` has timeout in seconds, and prefix-length where the clients of one network count as one. Raises
        Conflict when no LB node can carry what is asked for.
        """
        body = body_of(
            name=name,
            protocol=protocol,
            port=port,
            target_port=target_port,
            instance_pool={"id": str(instance_pool)},
            healthcheck=dict(healthcheck),
            strategy=strategy,
            hash_source_port=hash_source_port,
            forwarding_method=forwarding_method,
            persistence=persistence,
            description=description,
        )
        return OperationView.model_validate(self._transport.post(_path(load_balancer_id), body))

    def update(self, load_balancer_id: UUID, service_id: UUID, **given: object) -> OperationView:
        """Change what is given, by the names of `add`."""
        return OperationView.model_validate(self._transport.put(_path(load_balancer_id, service_id), body_of(**given)))

    def reset(self, load_balancer_id: UUID, service_id: UUID, field: str) -> OperationView:
        """Put a field back to what it is without being set: description, healthcheck or persistence."""
        return OperationView.model_validate(self._transport.delete(f"{_path(load_balancer_id, service_id)}/{field}"))

    def delete(self, load_balancer_id: UUID, service_id: UUID) -> OperationView:
        """Stop serving a port."""
        return OperationView.model_validate(self._transport.delete(_path(load_balancer_id, service_id)))


def _path(load_balancer_id: UUID, service_id: UUID | None = None) -> str:
    base = f"/v2/load-balancer/{load_balancer_id}/service"
    return base if service_id is None else f"{base}/{service_id}"

"""/v2/operation: what became of a change."""

from __future__ import annotations

from uuid import UUID

from bascule.api.context import Ctx, PublicRouter
from bascule.model.operations import Operation
from bascule.store import operations
from bascule.wire.public_v2_views import OperationReferenceView, OperationView

router = PublicRouter(prefix="/v2/operation", tags=["operation"])


@router.get("/{id}")
def get_operation(context: Ctx, id: UUID) -> OperationView:  # noqa: A002  (the public API's name)
    """Ask until the state is no longer *pending*."""
    with context.database.read() as connection:
        return view(operations.get(connection, id))


def view(operation: Operation) -> OperationView:
    """An operation as the public API shows it."""
    kind, reference_id = operation.reference_kind, operation.reference_id
    return OperationView(
        id=operation.id,
        state=operation.state,
        reason=operation.reason,
        message=operation.message or None,
        reference=OperationReferenceView(id=reference_id, link=f"/v2/{kind}/{reference_id}", command=f"get-{kind}"),
    )

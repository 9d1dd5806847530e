"""/v1/health: whether this process can do its work. Open to everybody, for monitors and service managers."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text

from bascule.api.context import Ctx

router = APIRouter(prefix="/v1/health", tags=["health"])


@router.get("")
def get_health(context: Ctx) -> dict[str, str]:
    """200 when the database answers, 503 when it does not."""
    with context.database.read() as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ok"}

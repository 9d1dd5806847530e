"""/v2/zone: the one zone that this API serves. Open to everybody, as Exoscale's client asks for it unsigned."""

from __future__ import annotations

from fastapi import Request

from bascule.api.context import Ctx, PublicRouter
from bascule.wire.public_v2_views import ZonesView, ZoneView

router = PublicRouter(prefix="/v2/zone", tags=["zone"])


@router.get("")
def list_zones(context: Ctx, request: Request) -> ZonesView:
    """The zone's name and the address of its API."""
    base = context.public_url or str(request.base_url)
    return ZonesView(zones=[ZoneView(name=context.zone, api_endpoint=f"{base.rstrip('/')}/v2")])

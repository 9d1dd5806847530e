"""/admin/v1/api-keys: who may sign requests to the public API."""

from __future__ import annotations

import secrets

from fastapi import APIRouter

from bascule.api.context import Ctx
from bascule.model.api_keys import ApiKey
from bascule.store import api_keys
from bascule.store.times import from_seconds
from bascule.wire.admin_v1 import ApiKeyCreate, ApiKeysView, ApiKeyView, NewApiKeyView

router = APIRouter(prefix="/admin/v1/api-keys", tags=["operators: API keys"])


@router.get("")
def list_api_keys(context: Ctx) -> ApiKeysView:
    """Every API key, without its secret."""
    with context.database.read() as connection:
        found = api_keys.list_all(connection)
    return ApiKeysView(api_keys=[ApiKeyView(key=one.key, name=one.name, created_at=one.created_at) for one in found])


@router.post("", status_code=201)
def create_api_key(context: Ctx, body: ApiKeyCreate) -> NewApiKeyView:
    """Create a key. Its secret is shown in this answer and never again."""
    api_key = ApiKey(
        key="EXO" + secrets.token_hex(12),
        name=body.name,
        secret=secrets.token_urlsafe(32),
        created_at=from_seconds(context.clock.now()),
    )
    with context.database.write() as connection:
        api_keys.insert(connection, api_key)
    return NewApiKeyView(key=api_key.key, name=api_key.name, created_at=api_key.created_at, secret=api_key.secret)


@router.delete("/{key}", status_code=204)
def delete_api_key(context: Ctx, key: str) -> None:
    """Refuse what is signed with this key from now on."""
    with context.database.write() as connection:
        api_keys.delete(connection, key)

"""API keys."""

from __future__ import annotations

from urllib.parse import quote

from bascule.client.transport import Transport, body_of
from bascule.wire.admin_v1 import ApiKeysView, ApiKeyView, NewApiKeyView


class ApiKeys:
    """/admin/v1/api-keys"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self) -> list[ApiKeyView]:
        """Every API key, without its secret."""
        return ApiKeysView.model_validate(self._transport.get("/admin/v1/api-keys")).api_keys

    def create(self, *, name: str) -> NewApiKeyView:
        """Create a key: the only answer that shows the secret."""
        return NewApiKeyView.model_validate(self._transport.post("/admin/v1/api-keys", body_of(name=name)))

    def delete(self, key: str) -> None:
        """Refuse what is signed with this key from now on. Raises NotFound."""
        self._transport.delete(f"/admin/v1/api-keys/{quote(key, safe='')}")

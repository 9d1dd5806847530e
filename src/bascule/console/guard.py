"""In front of every page: whose name the browser used, and what a page may do.

The console acts with the operator's token, so a page of somebody else must not read it under a name that was made to
point here (DNS rebinding): a Host that is a name must be known. An address cannot be rebound.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]*)?")


class Guard:
    """ASGI middleware. `names` are what the console is called beside localhost and any address."""

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app, self._names = app, {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 421 (RFC 9110, section 15.5.20) in the page's place."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = Request(scope).headers.get("host", "")
        app = self._app if is_known(host, self._names) else _refusal(host)
        await app(scope, receive, _with_headers(send))


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a Host header (RFC 9110, section 7.2) is an address or one of the names, whatever its port."""
    parts = _HOST.fullmatch(host)
    if parts is None:
        return False
    name = parts["six"] or parts["name"]
    return name.lower().removesuffix(".") in names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(host: str) -> ASGIApp:
    sentence = f"This console is not known as {host[:100]!r}: open it by its address, or start it with --name."
    return PlainTextResponse(sentence, status_code=421)


def _with_headers(send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return add

"""Who signed a request to the public API."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from bascule.api.context import Context
from bascule.model.errors import Forbidden
from bascule.store import api_keys
from bascule.wire.signatures import parse_header, query_arguments, sign

VALID_AT_MOST = 3600  # seconds ahead; a signature that holds longer is a password


def verify(context: Context, request: Request, body: bytes) -> str:
    """The API key that signed the request as it travelled. Raises Forbidden with what to correct."""
    credential = parse_header(request.headers.get("authorization", ""))
    _check_time(context, credential.expires)
    query = request.scope["query_string"].decode("latin-1")
    if not set(query_arguments(query)) <= set(credential.signed_query_args):
        raise Forbidden("A query argument is not signed: name every one in signed-query-args.")
    with context.database.read() as connection:
        api_key = api_keys.find(connection, credential.key)
    # An unknown key costs the same work as a known one, so that time does not tell them apart.
    expected = sign(
        api_key.secret if api_key else "",
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        body=body,
        query=query,
        expires=credential.expires,
    )
    same = hmac.compare_digest(expected.encode(), credential.signature.encode())
    if api_key is None:
        raise Forbidden(f"API key {credential.key[:64]!r} is unknown: check it, or have an operator create one.")
    if not same:
        raise Forbidden("The signature does not match the request: check the secret and what is signed.")
    return api_key.key


def _check_time(context: Context, expires: int) -> None:
    now = context.clock.now()
    if expires < now:
        raise Forbidden("The signature has expired: check this machine's clock and sign the request again.")
    if expires > now + VALID_AT_MOST:
        raise Forbidden(f"The signature expires in more than {VALID_AT_MOST} seconds: choose an earlier time.")

"""Signs requests to the public API."""

from __future__ import annotations

import time
from collections.abc import Generator

import httpx

from bascule.wire.signatures import Credential, header, query_arguments, sign

VALID_FOR = 600  # seconds


class SignedWithKey(httpx.Auth):
    """EXO2-HMAC-SHA256 over the request as it travels."""

    requires_request_body = True

    def __init__(self, key: str, secret: str) -> None:
        self._key, self._secret = key, secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the Authorization header."""
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        expires = int(time.time()) + VALID_FOR
        signature = sign(
            self._secret, method=request.method, path=path, body=request.content, query=query, expires=expires
        )
        credential = Credential(
            key=self._key,
            signature=signature,
            expires=expires,
            signed_query_args=tuple(sorted(query_arguments(query))),
        )
        request.headers["Authorization"] = header(credential)
        yield request


class SignedWithToken(httpx.Auth):
    """The bearer token of the operators' API."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the Authorization header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

"""EXO2-HMAC-SHA256, the signature of the public API: what is signed, and how the header spells it.

Signed are the method, the path and the body as they travel, the values of the query arguments the header names, and the
time the signature expires.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import standard_b64encode
from dataclasses import dataclass
from urllib.parse import parse_qs

from bascule.model.errors import Forbidden

SCHEME = "EXO2-HMAC-SHA256"
_SIGN = f"Sign the request with {SCHEME}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What the Authorization header claims; `expires` is seconds since the epoch."""

    key: str
    signature: str
    expires: int
    signed_query_args: tuple[str, ...] = ()


def query_arguments(query: str) -> dict[str, list[str]]:
    """The query as every party reads it: arguments without a value do not count."""
    return parse_qs(query)


def sign(secret: str, *, method: str, path: str, body: bytes, query: str, expires: int) -> str:
    """The signature over a request, with all its query arguments in alphabetical order."""
    arguments = query_arguments(query)
    values = "".join(arguments[name][0] for name in sorted(arguments) if len(arguments[name]) == 1)
    message = b"\n".join((f"{method} {path}".encode(), body, values.encode(), b"", str(expires).encode()))
    return standard_b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()


def header(credential: Credential) -> str:
    """The Authorization header."""
    parts = [f"{SCHEME} credential={credential.key}"]
    if credential.signed_query_args:
        parts.append("signed-query-args=" + ";".join(credential.signed_query_args))
    return ",".join([*parts, f"expires={credential.expires}", f"signature={credential.signature}"])


def parse_header(text: str) -> Credential:
    """Read the Authorization header. Raises Forbidden when it is none of ours or not well formed."""
    scheme, _, rest = text.partition(" ")
    if scheme != SCHEME:
        raise Forbidden(f"The Authorization header is missing or of another kind. {_SIGN}")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    expires = fields.get("expires", "")
    if not (fields.get("credential") and fields.get("signature") and expires.isascii() and expires.isdigit()):
        raise Forbidden(f"The Authorization header lacks credential, expires or signature. {_SIGN}")
    if len(expires) > 12:  # seconds since the epoch have eleven digits in the year 5138
        raise Forbidden("The Authorization header's expires is no time: write seconds since the epoch.")
    names = fields.get("signed-query-args", "")
    return Credential(
        key=fields["credential"],
        signature=fields["signature"],
        expires=int(expires),
        signed_query_args=tuple(names.split(";")) if names else (),
    )

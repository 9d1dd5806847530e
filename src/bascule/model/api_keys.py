"""An API key names who signs requests to the public API."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """`secret` is kept readable because verifying an HMAC needs the secret itself; it is never printed."""

    key: str
    name: str
    secret: str = field(repr=False)
    created_at: datetime

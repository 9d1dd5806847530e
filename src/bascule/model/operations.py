"""An operation is a promise: what a user asked for, and whether it has come true."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class OperationState(StrEnum):
    """States of the public API."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"


class OperationReason(StrEnum):
    """Why an operation failed, in the public API's words (those we use)."""

    CONFLICT = "conflict"
    FAULT = "fault"
    INTERRUPTED = "interrupted"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`reference_kind` is the noun as the public API's paths spell it. It succeeds once `generation` is observed."""

    id: UUID
    command: str
    reference_kind: str
    reference_id: UUID
    generation: int
    state: OperationState = OperationState.PENDING
    reason: OperationReason | None = None
    message: str = ""
    created_at: datetime

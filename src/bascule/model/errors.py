"""The one tree of errors. Every sentence tells the reader what to do next.

    BasculeError
    ├── InvalidInput        400  a field is wrong; `field` names it
    ├── Forbidden           403  the request is not signed, or not by a known key
    ├── NotFound            404
    ├── Conflict            409  the request is fine, the present state is not
    │   ├── Taken           409  another object holds the name, address or port
    │   ├── InUse           409  others depend on it; the sentence names them
    │   ├── Exhausted       409  a pool of addresses or instances has nothing left
    │   └── StaleCommand    409  an agent already obeys a newer command (fencing)
    ├── TooLarge            413  the request body is over the limit
    ├── Unavailable         503  a peer did not answer; trying again later may work
    │   └── LeaseLost       503  another worker took the entity over; this one must stop
    └── SystemFailure       500  the kernel or a program refused; the sentence names the command and its words

`status` is the HTTP status the API answers with, `exit_code` what the command line exits with, `code` the stable word
that programs can match on.
"""

from __future__ import annotations

from typing import ClassVar


class BasculeError(Exception):
    """Root of the tree. Raise a leaf, with a sentence that says what to do next."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(self, sentence: str, *, field: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.field = field


class InvalidInput(BasculeError):
    """A field is missing, malformed or out of range."""

    status = 400
    exit_code = 2
    code = "invalid-input"


class Forbidden(BasculeError):
    """The request carries no valid signature or token."""

    status = 403
    exit_code = 3
    code = "forbidden"


class NotFound(BasculeError):
    """No such object."""

    status = 404
    exit_code = 4
    code = "not-found"


class Conflict(BasculeError):
    """The request contradicts the present state."""

    status = 409
    exit_code = 5
    code = "conflict"


class Taken(Conflict):
    """Another object holds the name, address or port."""

    code = "taken"


class InUse(Conflict):
    """Other objects depend on this one."""

    code = "in-use"


class Exhausted(Conflict):
    """A pool has nothing left to give."""

    code = "exhausted"


class StaleCommand(Conflict):
    """The agent already obeys a newer epoch or generation."""

    code = "stale-command"


class TooLarge(BasculeError):
    """The request body is over the limit."""

    status = 413
    exit_code = 2
    code = "too-large"


class Unavailable(BasculeError):
    """A peer did not answer, or not in time."""

    status = 503
    exit_code = 6
    code = "unavailable"


class LeaseLost(Unavailable):
    """Another worker holds the entity now."""

    code = "lease-lost"


class SystemFailure(BasculeError):
    """The kernel or a program this machine runs refused what we asked."""

    status = 500
    exit_code = 7
    code = "system-failure"

"""Transactions of a step that the lease fences: what a late worker writes is never committed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from bascule.orchestration.claims import Claim
from bascule.orchestration.journal import Transaction
from bascule.orchestration.queue import Queue


@contextmanager
def fenced(transaction: Transaction, queue: Queue, claim: Claim) -> Iterator[Connection]:
    """A transaction for a step's own rows. Raises LeaseLost when another worker has taken the entity over."""
    with transaction() as connection:
        queue.claims.check(connection, claim)
        yield connection
        # Again, and for good: nobody takes over between this word and the end of the transaction.
        queue.claims.hold(connection, claim)

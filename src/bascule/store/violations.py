"""A unique constraint refused a row: say it in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError

from bascule.model.errors import Taken


@contextmanager
def refused_when_taken(error: Taken) -> Iterator[None]:
    """Raise `error` in place of a constraint's violation. The transaction is of no more use then: let it roll back."""
    try:
        yield
    except IntegrityError as violation:
        raise error from violation

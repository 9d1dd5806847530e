"""What the tests of the orchestration library share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.orchestration.application import Stage, staged


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    """A database, a clock, an application and one worker."""
    with staged(database_url) as made:
        yield made

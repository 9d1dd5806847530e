"""What the tests of the API share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.api.installation import Installation, installation


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Installation]:
    """A small installation: one LB node, one hypervisor, eight addresses."""
    with installation(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def api_at_rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for a whole module of requests that must change nothing."""
    with installation(tmp_path_factory.mktemp("api"), network="192.0.2.0/24") as made:
        yield made

"""What the tests of the API share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import BOTH, new_database
from tests.unit.api.installation import Installation, installation


@pytest.fixture
def api(database_url: str) -> Iterator[Installation]:
    """A small installation: one LB node, one hypervisor, eight addresses."""
    with installation(database_url) as made:
        yield made


@pytest.fixture(scope="module", params=BOTH)
def api_at_rest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for a whole module of requests that must change nothing."""
    with (
        new_database(request, tmp_path_factory.mktemp("api")) as url,
        installation(url, network="192.0.2.0/24") as made,
    ):
        yield made

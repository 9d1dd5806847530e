"""One data centre for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ipvs.bench import reason_to_skip
from tests.ipvs.centre import Centre


@pytest.fixture(scope="session")
def centre() -> Iterator[Centre]:
    """Built once; each test says what it wants of the node, which removes what the test before wanted."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with Centre() as built:
        yield built

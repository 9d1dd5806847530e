"""What several packet tests of the hypervisor share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bpf.hypervisor_programs import FAMILIES, Family, Programs


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Freshly loaded programs."""
    loaded = Programs()
    yield loaded
    loaded.close()


@pytest.fixture(params=list(FAMILIES.values()), ids=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    """Who takes part: first of IPv4, then of IPv6."""
    found: Family = request.param
    return found

"""What several packet tests of the hypervisor share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bpf.hypervisor_programs import Programs


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Freshly loaded programs."""
    loaded = Programs()
    yield loaded
    loaded.close()

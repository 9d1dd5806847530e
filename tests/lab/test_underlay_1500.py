"""An underlay of 1500 bytes, in which a full packet and its tunnel do not fit."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bascule.lab.control_plane import ControlPlane
from bascule.lab.shape import Shape
from bascule.lab.state import Lab

from .bulk import download, upload
from .conftest import build_lab, create_balancer

pytestmark = pytest.mark.lab


@pytest.fixture
def narrow() -> Iterator[Lab]:
    """A lab whose underlay carries no larger packets than the client's network."""
    yield from build_lab(f"narrow{os.getpid()}", Shape(underlay_mtu=1500))


def test_bulk_transfers_fit(narrow: Lab) -> None:
    """20 MB go both ways over either family with the right bytes, as hypervisors clamp what instances offer."""
    with ControlPlane(narrow) as api:
        for family in narrow.shape.families:
            balancer = create_balancer(narrow, api, f"narrow{family}", family)
            assert upload(narrow, balancer.web, 20_000_000)
            assert download(narrow, balancer.web, 20_000_000)

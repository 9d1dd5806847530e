"""The fake fails when told to, and shows what a foreign hand did."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from bascule.dataplanes.fake import FakeDataPlane
from bascule.model.errors import SystemFailure


def test_it_can_be_made_to_fail() -> None:
    """While `broken` holds a sentence every command fails with it; afterwards all is as before."""
    plane = FakeDataPlane()
    plane.start()
    plane.broken = "The kernel is full."
    with pytest.raises(SystemFailure, match="full"):
        plane.enforce({IPv4Address("192.0.2.1")}, ())
    assert plane.observe().ready == frozenset()
    plane.broken = None
    assert plane.enforce({IPv4Address("192.0.2.1")}, ())

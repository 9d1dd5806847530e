"""A service of a thousand backends."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from bascule.model.strategies import Strategy
from bascule.model.virtual_services import VirtualBackend
from tests.ipvs.bench import service
from tests.ipvs.centre import Centre

pytestmark = pytest.mark.root
FIRST = IPv4Address("10.128.4.0")
MEMBERS = 1000


def test_a_thousand_backends_are_written_and_changed(
    centre: Centre, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """All are written, one change of weight is one change, a quiet pass says nothing; junit.xml has the times."""
    backends = [VirtualBackend(address=FIRST + last, weight=1, target_port=80) for last in range(MEMBERS)]

    def timed(what: str, *, weight: int) -> tuple[str, ...]:
        changed = [VirtualBackend(address=FIRST, weight=weight, target_port=80), *backends[1:]]
        began = time.monotonic()
        said = centre.node.enforce(service(*changed, strategy=Strategy.MAGLEV_HASH))
        record_testsuite_property(f"seconds, {MEMBERS} backends {what}", round(time.monotonic() - began, 2))
        return said

    assert len(timed("written", weight=1)) >= MEMBERS
    assert len(timed("changed", weight=2)) == 1
    assert timed("quiet", weight=2) == ()
    (web,) = centre.node.observe().services
    assert len(web.backends) == MEMBERS

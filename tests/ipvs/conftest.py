"""One data centre for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ipvs import keepalived_bench
from tests.ipvs.bench import VIP, VIPS, reason_to_skip
from tests.ipvs.centre import ADDRESSES, TARGET_PORT, Centre


@pytest.fixture(scope="session")
def centre() -> Iterator[Centre]:
    """Built once; each test says what it wants of the node, which removes what the test before wanted."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with Centre() as built:
        yield built


@pytest.fixture(scope="session")
def served(centre: Centre) -> None:
    """Everybody but the instances listens too, where the ways to them end: only translation changes the port."""
    for family, vip in VIPS.items():
        for host in ("near", "lb"):
            for port in (81, 82):
                centre.serve(host, port, vip)
        centre.serve("near", TARGET_PORT, ADDRESSES[family]["near"])


@pytest.fixture
def node(request: pytest.FixtureRequest, centre: Centre, tmp_path: Path) -> Iterator[keepalived_bench.Node]:
    """The LB node with keepalived in place of the data plane that other tests use; a parameter is another VIP."""
    if reason := keepalived_bench.reason_to_skip():
        pytest.skip(reason)
    centre.node.enforce(held=False)
    with keepalived_bench.cleaned(centre, tmp_path):
        yield keepalived_bench.Node(centre, "lb", tmp_path, getattr(request, "param", VIP))
        centre.ip("lb", "route flush cache")

"""What an operator learns on a kernel without IPVS."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.dataplanes.ipvs import reading
from bascule.dataplanes.ipvs.driver import IpvsDataPlane
from bascule.model.errors import SystemFailure


def has_ipvs() -> bool:
    """Whether this machine's kernel has it."""
    try:
        reading.require()
    except SystemFailure:
        return False
    return True


@pytest.mark.skipif(has_ipvs(), reason="needs a kernel without ip_vs")
def test_a_kernel_without_ipvs_is_said_and_costs_nothing() -> None:
    """Starting fails with the module and the package that has it, as often as one tries, and leaves nothing open."""
    plane = IpvsDataPlane()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(SystemFailure, match=r"modprobe ip_vs.*linux-image-amd64"):
            plane.start()
    assert len(list(Path("/proc/self/fd").iterdir())) == before

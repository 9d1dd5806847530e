"""The whole system with hypervisors that translate by nftables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from bascule.lab import traffic
from bascule.lab.control_plane import ControlPlane
from bascule.lab.network import namespace
from bascule.lab.shape import Shape
from bascule.lab.state import Lab
from bascule.lab.waiting import wait_until
from bascule.system.commands import run
from bascule.system.namespaces import call_in

from .bulk import download, upload
from .conftest import SERVING, build_lab, create_balancer, instances

pytestmark = pytest.mark.lab
_PROMISE = 2.0


@pytest.fixture
def nat_lab() -> Iterator[Lab]:
    """A lab whose hypervisors run `netfilter`."""
    yield from build_lab(f"nat{os.getpid()}", Shape(forwarding="netfilter"))


def _on_hypervisor(lab: Lab, *command: str) -> str:
    return call_in(namespace(lab.name, "hv1"), lambda: run(command))


def _targets(lab: Lab) -> list[Any]:
    listed = json.loads(_on_hypervisor(lab, "nft", "-j", "list", "ruleset"))["nftables"]
    return [element for item in listed for element in item.get("map", {}).get("elem", ())]


def test_traffic_flows_and_a_flushed_ruleset_comes_back(nat_lab: Lab) -> None:
    """Over either family all goes through with clients' own addresses; what `nft flush ruleset` took is back in 2 s."""
    with ControlPlane(nat_lab) as api:
        balancers = [create_balancer(nat_lab, api, f"nat{family}", family) for family in nat_lab.shape.families]
        for balancer in balancers:
            for target in (balancer.web, balancer.who):
                tally = traffic.send(nat_lab, target, 500)
                assert set(tally.by_instance) == instances(nat_lab, SERVING)
                assert not tally.failures
                assert not tally.disguised
            assert upload(nat_lab, balancer.web, 20_000_000)
            assert download(nat_lab, balancer.web, 20_000_000)
        before = len(_targets(nat_lab))

        _on_hypervisor(nat_lab, "nft", "flush", "ruleset")

        wait_until(lambda: len(_targets(nat_lab)) == before > 0, what="The rules", timeout=_PROMISE)
        for balancer in balancers:
            balancer.wait_until_answered_by(instances(nat_lab, SERVING))

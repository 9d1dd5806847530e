"""The nftables rules for what no backend serves."""

from __future__ import annotations

import os
import shutil
from ipaddress import IPv4Address, IPv6Address

import pytest

from bascule.dataplanes.xdp.render import remove, render
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ServiceKey
from bascule.system.commands import run

VIP = IPv4Address("192.0.2.1")
SERVED = ServiceKey(VIP, Protocol.TCP, 80)
VIP_V6 = IPv6Address("2001:db8::1")
SERVED_V6 = ServiceKey(VIP_V6, Protocol.UDP, 53)


def test_addresses_and_services_are_sorted() -> None:
    """The same desire gives the same script, so that a comparison means something."""
    addresses = [IPv4Address("192.0.2.9"), VIP]
    assert render(addresses, [SERVED]) == render(reversed(addresses), [SERVED])


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft: install nftables")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: `nft -c` asks the kernel")
@pytest.mark.root
@pytest.mark.parametrize(
    "script",
    [render([VIP], [SERVED]), render([VIP, VIP_V6], [SERVED, SERVED_V6]), render([VIP], []), render([], []), remove()],
)
def test_nft_accepts_the_script(script: str) -> None:
    """`nft -c` finds no fault in it."""
    run(["nft", "-c", "-f", "-"], stdin=script)

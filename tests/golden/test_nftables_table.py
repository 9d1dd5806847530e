"""The nftables table of the forwarding `netfilter`: as written down, and accepted by the real nft."""

from __future__ import annotations

import os
import shutil
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bascule.forwarding.netfilter.render import fill, remove, table
from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol
from bascule.system.commands import run

GOLDEN = Path(__file__).parent / "nftables" / "two_services.nft"
FIRST, SECOND, ABSENT = (IPv4Address(f"10.128.0.{last}") for last in (11, 12, 13))
VIP, OTHER_VIP = IPv4Address("203.0.113.10"), IPv4Address("203.0.113.11")
RULES = (
    ForwardingRule(VIP, Protocol.TCP, 80, FIRST, 8080),
    ForwardingRule(VIP, Protocol.TCP, 80, SECOND, 8080),
    ForwardingRule(OTHER_VIP, Protocol.UDP, 53, FIRST, 5353),
)
SCRIPT = table(1440) + fill(RULES, {FIRST, SECOND, ABSENT})


def test_the_table_is_as_written_down() -> None:
    """Two services over two instances, and one instance without interface, give exactly the golden file."""
    assert GOLDEN.read_text() == SCRIPT


def test_the_order_of_rules_does_not_matter() -> None:
    """The same desire gives the same script."""
    assert fill(reversed(RULES), {ABSENT, SECOND, FIRST}) == fill(RULES, {FIRST, SECOND, ABSENT})


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft: install nftables")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: `nft -c` asks the kernel")
@pytest.mark.root
@pytest.mark.parametrize("script", [SCRIPT, table(536), table(1440) + fill([], set()), remove(), remove() + SCRIPT])
def test_nft_accepts_the_script(script: str) -> None:
    """`nft -c` finds no fault in it."""
    run(["nft", "-c", "-f", "-"], stdin=script)

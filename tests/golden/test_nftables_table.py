"""The nftables table of the forwarding `netfilter`: as written down, and accepted by the real nft."""

from __future__ import annotations

import os
import shutil
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from bascule.forwarding.netfilter.render import collisions, fill, mark, remove, table, zone
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
SCRIPT = table(4, 1440) + fill(4, RULES, {FIRST, SECOND, ABSENT})
GOLDEN6 = GOLDEN.with_name("two_services_ipv6.nft")
FIRST6, SECOND6, ABSENT6 = (IPv6Address(f"2001:db8:128::{last}") for last in (11, 12, 13))
VIP6 = IPv6Address("2001:db8:113::10")
RULES6 = (
    ForwardingRule(VIP6, Protocol.TCP, 80, FIRST6, 8080),
    ForwardingRule(VIP6, Protocol.TCP, 80, SECOND6, 8080),
    ForwardingRule(VIP6, Protocol.UDP, 53, FIRST6, 5353),
)
SCRIPT6 = table(6, 1400) + fill(6, RULES6, {FIRST6, SECOND6, ABSENT6})


@pytest.mark.parametrize(("golden", "script"), [(GOLDEN, SCRIPT), (GOLDEN6, SCRIPT6)])
def test_the_table_is_as_written_down(golden: Path, script: str) -> None:
    """Two services over two instances, and one instance without interface, give exactly the golden file."""
    assert golden.read_text() == script


def test_the_order_of_rules_does_not_matter() -> None:
    """The same desire gives the same script."""
    assert fill(4, reversed(RULES), {ABSENT, SECOND, FIRST}) == fill(4, RULES, {FIRST, SECOND, ABSENT})


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft: install nftables")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: `nft -c` asks the kernel")
@pytest.mark.root
@pytest.mark.parametrize(
    "script",
    [
        SCRIPT,
        SCRIPT6,
        table(4, 536),
        table(4, 1440) + fill(4, [], set()),
        remove(4),
        remove(6),
        remove(4) + SCRIPT,
        remove(6) + SCRIPT6,
    ],
)
def test_nft_accepts_the_script(script: str) -> None:
    """`nft -c` finds no fault in it."""
    run(["nft", "-c", "-f", "-"], stdin=script)


def test_instances_of_one_host_have_marks_and_zones_of_their_own() -> None:
    """Neighbouring IPv6 addresses differ in both, and subnets of one host in the mark."""
    hosts = {IPv6Address(f"2001:db8:128::{last:x}") for last in range(1, 1025)}
    hosts |= {IPv6Address(f"2001:db8:128:{net:x}::1") for net in range(1, 65)}

    assert collisions(hosts) == {}
    assert len({mark(host) for host in hosts}) == len(hosts)
    assert len({zone(IPv6Address(f"2001:db8::{last:x}")) for last in range(1, 1025)}) == 1024


def test_a_mark_that_is_taken_is_found() -> None:
    """An address made to have another one's mark is named, with the one that keeps it."""
    twin = IPv6Address(forge(FIRST6.packed))

    assert mark(twin) == mark(FIRST6)
    assert collisions({FIRST6, twin, FIRST}) == {max(FIRST6, twin): min(FIRST6, twin)}


def forge(packed: bytes) -> bytes:
    """Another 16 bytes of the same CRC-32: a multiple of its polynomial changes nothing."""
    polynomial = int(f"{0x104C11DB7:033b}"[::-1], 2)  # CRC-32 reads the least significant bit of a byte first
    mask = int(f"{polynomial << 8:0128b}", 2).to_bytes(16, "little")
    return bytes(one ^ other for one, other in zip(packed, mask, strict=True))

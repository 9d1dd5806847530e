"""One packet in, a verdict and a packet out: the MSS that instances offer."""

from __future__ import annotations

import pytest

from tests.bpf.hypervisor_programs import LET_THROUGH, NEEDS, Family, Programs
from tests.bpf.packets import ETHERNET, SYN, SYN_ACK, frame, read, tcp

pytestmark = NEEDS


def tcp_with_options(family: Family, options: bytes) -> bytes:
    return tcp(family.at_web.reversed(), SYN_ACK, options=options, payload=b"")


def mss(value: int) -> bytes:
    return b"\2\4" + value.to_bytes(2, "big")


@pytest.mark.parametrize(
    "options",
    [mss(1460), b"\1\1\1\1" + mss(1460), b"\1" + mss(1460) + b"\1\1\1", b"\4\2" + mss(9000) + b"\3\3\7\0\0\0"],
    ids=["first", "after words of padding", "at an odd offset", "after another option"],
)
def test_the_mss_is_clamped(programs: Programs, family: Family, options: bytes) -> None:
    """What the instance offers to receive is cut to what fits the tunnel, wherever the option stands."""
    programs.deliver(tcp(family.to_web, SYN))

    verdict, left, moved = programs.instance(tcp_with_options(family, options))

    assert verdict == LET_THROUGH
    assert read(left[len(ETHERNET) :]).payload[20:] == options.replace(mss(1460), mss(family.mss)).replace(
        mss(9000), mss(family.mss)
    )
    assert moved == {"replied", "mss_clamped"}


@pytest.mark.parametrize(
    "options",
    [
        b"",
        mss(1360),
        mss(536),
        b"\2\3\5\0",
        b"\2\0\5\0",
        b"\5\1" + mss(1460) + b"\1\1",
        b"\2\x28\5\xb4",
        b"\0" * 4 + mss(1460),
        b"\1" * 40,
        b"\1\1\1\2",
    ],
    ids=[
        "none",
        "equal or small",
        "small",
        "short",
        "no length",
        "length of one",
        "too long",
        "after the end",
        "padding only",
        "cut off",
    ],
)
def test_other_options_are_left_alone(programs: Programs, family: Family, options: bytes) -> None:
    """A small enough MSS stays, and so does anything that is malformed."""
    programs.deliver(tcp(family.to_web, SYN))

    _, left, moved = programs.instance(tcp_with_options(family, options))

    assert read(left[len(ETHERNET) :]).payload[20:] == options
    assert moved == {"replied"}


def test_the_payload_is_never_taken_for_an_option(programs: Programs, family: Family) -> None:
    """An option that claims to reach beyond the header is left alone, and so is what follows the header."""
    programs.deliver(tcp(family.to_web, SYN))

    packet = tcp(family.at_web.reversed(), SYN_ACK, options=b"\1\1" + mss(1460)[:2], payload=mss(1460)[2:])

    assert programs.reply(packet).payload[20:] == b"\1\1" + mss(1460)


def test_the_mss_of_direct_connections_is_left_alone(programs: Programs, family: Family) -> None:
    """Only replies that go out as the VIP are clamped."""
    packet = tcp_with_options(family, mss(1460))

    assert programs.instance(packet) == (LET_THROUGH, frame(packet), {"passed_other"})

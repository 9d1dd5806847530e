"""Maglev's table: even shares, little movement, the same on every node, the same in C."""

from __future__ import annotations

from array import array
from collections import Counter
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule import native
from bascule.dataplanes.xdp.layout import RING_SLOTS
from bascule.dataplanes.xdp.maglev import Share, fill, fill_reference

pytestmark = pytest.mark.skipif(
    not (native.DIRECTORY / "libbascule.so").exists(), reason="needs libbascule.so: run `make native`"
)

SEEDS = st.integers(0, 2**64 - 1)
ADDRESSES = st.integers(1, 2**32 - 1).map(IPv4Address)


def shares(addresses: list[IPv4Address], weights: list[int] | None = None) -> list[Share]:
    """A share for each address, labelled 1, 2, 3..."""
    return [Share(address, weights[n] if weights else 1, n + 1) for n, address in enumerate(addresses)]


@st.composite
def weighted(draw: st.DrawFn) -> list[Share]:
    """Up to 40 backends of weights 0 to 100."""
    addresses = draw(st.lists(ADDRESSES, max_size=40, unique=True))
    return shares(addresses, [draw(st.integers(0, 100)) for _ in addresses])


@given(weighted(), SEEDS)
@settings(max_examples=20, deadline=None)
def test_c_equals_the_reference(backends: list[Share], seed: int) -> None:
    """The function in C fills every slot as the one in Python does."""
    assert fill(backends, seed, 4099) == fill_reference(backends, seed, 4099)


@given(st.lists(ADDRESSES, min_size=1, max_size=100, unique=True), SEEDS)
@settings(max_examples=20, deadline=None)
def test_equal_weights_have_equal_shares(addresses: list[IPv4Address], seed: int) -> None:
    """At equal weights every share is within 2 % of the mean."""
    owned = Counter(fill(shares(addresses), seed))
    mean = RING_SLOTS / len(addresses)
    assert all(abs(owned[label] - mean) <= max(1, 0.02 * mean) for label in range(1, len(addresses) + 1))


@given(st.integers(0, 2**32 - 101), SEEDS, st.integers(0, 9))
@settings(max_examples=10, deadline=None)
def test_little_moves_when_one_of_a_hundred_leaves(first: int, seed: int, leaver: int) -> None:
    """At most twice as many slots change hands as the leavers had, which is the least possible.

    That is about ten leavers: of some 3,000 single ones, each from a table of its own, the median moves 1.6 times its
    slots and the worst 2.4 times, because two backends may happen to walk one behind the other.
    """
    backends = shares([IPv4Address(first + number) for number in range(100)])
    before = fill(backends, seed)
    moved = had = 0
    for gone in range(leaver, 100, 10):
        after = fill(backends[:gone] + backends[gone + 1 :], seed)
        moved += sum(old != new for old, new in zip(before, after, strict=True))
        had += before.count(gone + 1)
    assert moved <= 2 * had


@given(weighted(), SEEDS, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_list_does_not_matter(backends: list[Share], seed: int, random: object) -> None:
    """Every node makes the same table, in whatever order it was told of the backends."""
    shuffled = list(backends)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fill(shuffled, seed) == fill(backends, seed)


@given(weighted().filter(lambda found: any(share.weight for share in found)), SEEDS)
@settings(max_examples=20, deadline=None)
def test_weights_are_respected(backends: list[Share], seed: int) -> None:
    """Shares are in proportion to weights, to one round of turns; weight 0 owns nothing."""
    owned = Counter(fill(backends, seed))
    total = sum(share.weight for share in backends)
    for share in backends:
        assert abs(owned[share.label] - RING_SLOTS * share.weight / total) <= max(share.weight, 1)
        assert share.weight or not owned[share.label]


def test_nobody_owns_the_ring_without_backends() -> None:
    """Without a backend that takes new connections every slot holds 0."""
    assert fill([], 1) == fill(shares([IPv4Address("10.0.0.1")], [0]), 1) == array("H", bytes(2 * RING_SLOTS))


def test_services_have_different_tables() -> None:
    """The seed changes the table: backends that are neighbours in one service are not in another."""
    backends = shares([IPv4Address(f"10.0.0.{last}") for last in range(1, 11)])
    same = sum(a == b for a, b in zip(fill(backends, 1), fill(backends, 2), strict=True))
    assert same < RING_SLOTS / 5

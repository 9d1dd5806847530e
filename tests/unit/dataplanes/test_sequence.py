"""Round robin's sequence of turns."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from bascule.dataplanes.xdp.layout import SEQUENCE_SLOTS
from bascule.dataplanes.xdp.maglev import Share
from bascule.dataplanes.xdp.sequence import interleave


def shares(*weights: int) -> list[Share]:
    """A share for each weight, labelled 1, 2, 3..."""
    return [Share(IPv4Address(n), weight, n) for n, weight in enumerate(weights, start=1)]


def test_a_heavy_backend_has_its_turns_spread_out() -> None:
    """Of weights 2, 1, 1 the first backend does not have two turns in a row."""
    assert interleave(shares(2, 1, 1)) == (1, 2, 3, 1)


def test_weights_have_no_common_divisor_left() -> None:
    """Equal weights are single turns, however heavy."""
    assert interleave(shares(50, 50)) == (1, 2)


@given(st.lists(st.integers(0, 100), max_size=300))
def test_turns_are_in_proportion_and_fit(weights: list[int]) -> None:
    """Every willing backend has a turn, nobody else has, and the sequence fits its map."""
    sequence = interleave(shares(*weights))
    assert len(sequence) <= SEQUENCE_SLOTS
    assert set(sequence) == {label for label, weight in enumerate(weights, start=1) if weight}
    turns = Counter(sequence)
    for label, weight in enumerate(weights, start=1):
        share = len(sequence) * weight / (sum(weights) or 1)
        assert abs(turns[label] - share) <= 1 + 0.1 * share

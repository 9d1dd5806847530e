"""The order in which round robin gives new flows to backends: a heavy backend's turns are spread out. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bascule.dataplanes.xdp.layout import SEQUENCE_SLOTS
from bascule.dataplanes.xdp.maglev import Share
from bascule.model.addresses import address_order


def interleave(shares: Sequence[Share]) -> tuple[int, ...]:
    """The labels in the order of their turns; empty when nobody has a weight above 0.

    A backend with k turns has them at the times 1/2k, 3/2k, 5/2k, ... of a round. Weights are scaled down when their
    turns would not fit (each keeps at least one).
    """
    willing = sorted((share for share in shares if share.weight > 0), key=lambda share: address_order(share.address))
    if not willing:
        return ()
    turns = _turns([share.weight for share in willing])
    times = [((2 * turn + 1) / (2 * count), place) for place, count in enumerate(turns) for turn in range(count)]
    return tuple(willing[place].label for _, place in sorted(times))[:SEQUENCE_SLOTS]


def _turns(weights: list[int]) -> list[int]:
    divisor = math.gcd(*weights)
    total = sum(weights) // divisor
    if total <= SEQUENCE_SLOTS:
        return [weight // divisor for weight in weights]
    scale = (SEQUENCE_SLOTS - len(weights)) / sum(weights)
    return [1 + int(weight * scale) for weight in weights]

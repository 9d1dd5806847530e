"""Maglev's table with weights (Eisenbud and others, NSDI 2016): the reference, and the same in C by ctypes. Pure.

Every backend has its own order in which it likes the slots, made from its address and the service's seed alone;
backends take turns in the order of their addresses. So every node makes the same table from the same set, and when a
backend leaves, nearly all slots of the others stay where they are.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from bascule.dataplanes.xdp.layout import RING_SLOTS
from bascule.dataplanes.xdp.library import library
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure


@dataclass(frozen=True, slots=True)
class Share:
    """A backend that wants a share of the ring. `label` (below 65,535) is what its slots will hold."""

    address: IPAddress
    weight: int
    label: int


@dataclass(frozen=True, slots=True)
class _Preferences:
    """One item for each backend of weight above 0, in the order of turns."""

    offsets: tuple[int, ...]
    skips: tuple[int, ...]
    weights: tuple[int, ...]
    labels: tuple[int, ...]


def permutation(address: IPAddress, seed: int, slots: int = RING_SLOTS) -> tuple[int, int]:
    """Offset and skip of a backend's walk over the slots; as `slots` is a prime the walk visits all of them."""
    digest = hashlib.blake2b(address.packed, digest_size=16, key=seed.to_bytes(8, "little")).digest()
    offset, skip = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    return offset % slots, skip % (slots - 1) + 1


def fill(shares: Sequence[Share], seed: int, slots: int = RING_SLOTS) -> array[int]:
    """The owner of every slot ('H' array of labels), 0 everywhere when nobody has a weight above 0. Runs in C."""
    wanted = _preferences(shares, seed, slots)
    if not wanted.labels:
        return array("H", bytes(2 * slots))
    owners = array("H", bytes(2 * slots))
    columns = [array("I", column) for column in (wanted.offsets, wanted.skips, wanted.weights)]
    labels = array("H", wanted.labels)
    pointers = [column.buffer_info()[0] for column in (*columns, labels, owners)]
    if library().bascule_maglev(slots, len(labels), *pointers):
        raise SystemFailure("No memory is left for a Maglev table: give the machine more.")
    return owners


def fill_reference(shares: Sequence[Share], seed: int, slots: int = RING_SLOTS) -> array[int]:
    """The same in plain Python, to read and to compare with."""
    wanted = _preferences(shares, seed, slots)
    owners: list[int | None] = [None] * slots
    following = list(wanted.offsets)
    free = slots if wanted.labels else 0
    while free:
        for turn, label in enumerate(wanted.labels):
            for _ in range(min(wanted.weights[turn], free)):
                while owners[following[turn]] is not None:
                    following[turn] = (following[turn] + wanted.skips[turn]) % slots
                owners[following[turn]] = label
                free -= 1
    return array("H", [owner or 0 for owner in owners])


def _preferences(shares: Sequence[Share], seed: int, slots: int) -> _Preferences:
    willing = sorted((share for share in shares if share.weight > 0), key=lambda share: address_order(share.address))
    walks = [permutation(share.address, seed, slots) for share in willing]
    # 50 slots in a row for each of two backends would spread as well, but move more slots when one leaves.
    divisor = math.gcd(*(share.weight for share in willing)) or 1
    return _Preferences(
        tuple(offset for offset, _ in walks),
        tuple(skip for _, skip in walks),
        tuple(share.weight // divisor for share in willing),
        tuple(share.label for share in willing),
    )

"""What a slot of a ring remembers when it changes hands. Pure; `bpf/history.c` is the same in C and does the work.

A slot is clean (its flows are all at the current owner, or new: nothing is remembered of them) or dirty: a flow is
where the table of flows says, or else at the old owner, unless another LB node knows better (rule 5). The rules:

1. A clean slot given to another backend becomes dirty, with the former owner as the old one, if that one still lives.
2. A dirty slot stays dirty whoever it is given to, and keeps its old owner while that one lives: flows that began since
   are all in the table, older ones need not be. This holds when it is given *back* to the old owner, too: flows of the
   owner in between are in the table, and only a dirty slot looks there. Hence a bit of its own for "dirty".
3. When the old owner dies, the current one takes its place at once: its flows are lost anyway.
4. A slot becomes clean when no flow seen lately is remembered elsewhere than at the current owner, or may be there, and
   never sooner than a flow may be silent, nor sooner than other nodes' old flows need to end (`tables.IdleTimes`). Its
   flows are then forgotten, so that none of them can capture a later connection.
5. A flow that this node does not remember may have begun at the current owner, through another LB node that is gone
   now. Its packets get two headers: they go to the old owner, whose hypervisor sends on to the current one what belongs
   to no flow of the old one. It is remembered as a guess that names the current owner: so it is found even when the
   slot changes hands once more, because the old owner is the slot's as long as that one lives (rule 2).

A backend lives while the service names it, with whatever weight.
"""

from __future__ import annotations

from array import array
from collections.abc import Set
from ctypes import addressof, c_char

from bascule.dataplanes.xdp.library import ANY_BACKEND, library

DIRTY = 1 << 31
GUESS = 1 << 15


def clean(owner: int) -> int:
    """A clean slot."""
    return owner << 16 | owner


def old(slot: int) -> int:
    """Where the flows of a dirty slot are that nobody remembers."""
    return slot >> 16 & 0x7FFF


def current(slot: int) -> int:
    """Where new flows go; 0 for nowhere."""
    return slot & 0xFFFF


def presume(slot: int, alive: Set[int], *, second_chance: bool = True) -> int:
    """What to remember of an unknown flow of a dirty slot: a backend, with GUESS if it is a guess (rule 5)."""
    if old(slot) == current(slot) or old(slot) not in alive:
        return current(slot)
    return GUESS | current(slot) if second_chance and current(slot) in alive else old(slot)


def way(slot: int, remembered: int, alive: Set[int]) -> tuple[int, int]:
    """Where the packets of a remembered flow go, and where they go on to from there if it is not known there, or 0."""
    backend = remembered & ~GUESS
    if remembered & GUESS and old(slot) != backend and old(slot) in alive:
        return old(slot), backend
    return backend, 0


def merge_slot(slot: int, wanted: int, alive: Set[int]) -> int:
    """The slot once it belongs to `wanted` (rules 1 to 3)."""
    if not slot & DIRTY:
        if current(slot) == wanted or current(slot) not in alive:
            return clean(wanted)
        return DIRTY | current(slot) << 16 | wanted
    return DIRTY | (old(slot) if old(slot) in alive else wanted) << 16 | wanted


def clean_slot(slot: int, remembered: Set[int]) -> int:
    """The slot once those of its flows that were seen lately are at the `remembered` backends or guesses (rule 4)."""
    is_held = bool(remembered - {current(slot)})
    return slot if is_held or not slot & DIRTY else clean(current(slot))


def flags(backends: Set[int]) -> bytes:
    """One byte for every possible backend index: 1 for those of the set, as the C functions want it."""
    marks = bytearray(ANY_BACKEND)
    for index in backends:
        marks[index] = 1
    return bytes(marks)


def merge(ring: bytearray, owners: array[int], alive: Set[int]) -> int:
    """Give every slot of the ring its owner, by the rules; returns how many slots are dirty then."""
    pointer = addressof(c_char.from_buffer(ring))
    return int(library().bascule_merge(pointer, len(owners), owners.buffer_info()[0], flags(alive)))


def count_dirty(ring: bytearray) -> int:
    """How many slots are dirty."""
    return int(library().bascule_count_dirty(addressof(c_char.from_buffer(ring)), len(ring) // 4))

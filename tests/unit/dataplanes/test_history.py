"""The rules of slot history: no packet of a living flow ever changes its backend."""

from __future__ import annotations

from array import array
from mmap import mmap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bascule import native
from bascule.dataplanes.xdp import history
from bascule.dataplanes.xdp.flows import FlowTable
from bascule.dataplanes.xdp.history import DIRTY, clean, clean_slot, current, merge_slot, old
from bascule.dataplanes.xdp.layout import RING_SIZE, RING_SLOTS

needs_library = pytest.mark.skipif(
    not (native.DIRECTORY / "libbascule.so").exists(), reason="needs libbascule.so: run `make native`"
)
BACKENDS = st.integers(1, 4)
FLOWS = st.integers(0, 5)
IDLE = 3


def test_a_clean_slot_that_changes_hands_remembers_its_owner() -> None:
    """Flows nobody remembers are the old owner's."""
    assert merge_slot(clean(1), 2, {1, 2}) == DIRTY | 1 << 16 | 2


def test_a_clean_slot_that_stays_is_clean() -> None:
    """Nothing is looked up where nothing changed."""
    assert merge_slot(clean(1), 1, {1, 2}) == clean(1)


def test_a_dead_owner_leaves_no_history() -> None:
    """When the owner is gone its flows are lost: the next owner has the slot clean."""
    assert merge_slot(clean(1), 2, {2}) == clean(2)


def test_giving_back_is_no_undoing() -> None:
    """A slot given back to its old owner stays dirty: flows of the owner in between must still be found."""
    assert merge_slot(merge_slot(clean(1), 2, {1, 2}), 1, {1, 2}) == DIRTY | 1 << 16 | 1


def test_a_dead_old_owner_is_replaced() -> None:
    """Flows nobody remembers go to the current owner once the old one is gone, but others are still looked up."""
    assert merge_slot(DIRTY | 1 << 16 | 2, 3, {2, 3}) == DIRTY | 3 << 16 | 3


def test_a_slot_is_clean_when_no_flow_lives_elsewhere() -> None:
    """Flows at the current owner hold nothing back, one flow elsewhere does."""
    slot = DIRTY | 1 << 16 | 2
    assert clean_slot(slot, {2}) == clean(2)
    assert clean_slot(slot, {1, 2}) == slot


class OneSlot(RuleBasedStateMachine):
    """One slot of a ring, the flows that hash to it, and a table of flows that never overflows."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = {1, 2, 3, 4}
        self.slot = clean(1)
        self.now = self.changed_at = 0
        self.table: dict[int, tuple[int, int]] = {}
        self.flows: dict[int, tuple[int, int]] = {}

    def packet(self, flow: int, *, opens: bool) -> int:
        """What bpf/choose.h does with a packet; returns the backend."""
        if not self.slot & DIRTY:
            return current(self.slot)
        chosen = current(self.slot)
        remembered, _ = self.table.get(flow, (0, 0))
        if not opens and remembered in self.alive:
            chosen = remembered
        elif not opens and old(self.slot) in self.alive:
            chosen = old(self.slot)
        if chosen:
            self.table[flow] = chosen, self.now
        return chosen

    @rule(flow=FLOWS)
    def open(self, flow: int) -> None:
        """A client opens a connection, perhaps from a port it used before."""
        self.flows[flow] = self.packet(flow, opens=True), self.now

    @rule(flow=FLOWS)
    def continues(self, flow: int) -> None:
        """A packet of an established flow to a living backend arrives at that backend."""
        backend, seen = self.flows.get(flow, (0, 0))
        if backend not in self.alive or self.now - seen > IDLE:
            return
        assert self.packet(flow, opens=False) == backend
        self.flows[flow] = backend, self.now

    @rule(flow=FLOWS)
    def stray(self, flow: int) -> None:
        """A packet of no connection changes nothing for the others."""
        if flow not in self.flows:
            self.packet(flow, opens=False)

    @rule(owner=st.integers(0, 4))
    def change(self, owner: int) -> None:
        """The ring gives the slot to a living backend, or to none."""
        if owner and owner not in self.alive:
            return
        merged = merge_slot(self.slot, owner, self.alive)
        if merged != self.slot:
            self.changed_at = self.now
        self.slot = merged

    @precondition(lambda self: len(self.alive) > 1)
    @rule(backend=BACKENDS, owner=BACKENDS)
    def die(self, backend: int, owner: int) -> None:
        """A backend is removed: another one gets its slot, and the table forgets it."""
        if backend not in self.alive or owner == backend or owner not in self.alive:
            return
        self.alive.discard(backend)
        self.change(owner)
        self.table = {flow: word for flow, word in self.table.items() if word[0] != backend}
        self.flows = {flow: word for flow, word in self.flows.items() if word[0] != backend}

    @rule(backend=BACKENDS)
    def join(self, backend: int) -> None:
        """A backend comes; in the driver it would have a new index, as its flows are forgotten."""
        self.alive.add(backend)

    @rule()
    def wait(self) -> None:
        """Time passes."""
        self.now += 1

    @precondition(lambda self: self.now - self.changed_at > IDLE)
    @rule()
    def scan(self) -> None:
        """The driver cleans the slot if no flow seen lately lives elsewhere."""
        cleaned = clean_slot(self.slot, {backend for backend, seen in self.table.values() if self.now - seen <= IDLE})
        if not cleaned & DIRTY:
            self.table.clear()
        self.slot = cleaned

    @invariant()
    def a_clean_slot_remembers_nothing(self) -> None:
        """A stale word could capture a later connection of the same client and port."""
        assert self.slot & DIRTY or not self.table


OneSlot.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_no_flow_to_a_living_backend_ever_moves = OneSlot.TestCase

SLOTS = st.builds(
    lambda dirty, former, owner: dirty | former << 16 | owner, st.sampled_from([0, DIRTY]), BACKENDS, BACKENDS
)


@needs_library
@given(st.lists(st.tuples(SLOTS, st.integers(0, 4)), min_size=1), st.sets(BACKENDS))
def test_merging_in_c_equals_the_reference(pairs: list[tuple[int, int]], alive: set[int]) -> None:
    """The C function follows the same rules, and counts the dirty slots."""
    slots = [slot if slot & DIRTY else clean(current(slot)) for slot, _ in pairs]
    ring, owners = bytearray(array("I", slots).tobytes()), array("H", [owner for _, owner in pairs])
    dirty = history.merge(ring, owners, alive)
    expected = [merge_slot(slot, owner, alive) for slot, owner in zip(slots, owners, strict=True)]
    assert array("I", ring).tolist() == expected
    assert dirty == history.count_dirty(ring) == sum(slot >> 31 for slot in expected)


def word(slot: int, backend: int, age: int, now: int) -> int:
    """A remembered flow of a slot, seen `age` ticks ago."""
    return slot << 48 | 0xABC << 32 | (now - age & 0xFFFF) << 16 | backend


@needs_library
def test_cleaning_in_c_follows_the_rule_and_forgets() -> None:
    """Held slots stay, others become clean and lose their flows; other services' flows are left alone."""
    now = 1000
    rings, flows = mmap(-1, RING_SIZE), mmap(-1, 64)
    slots = array("I", [clean(1)]) * RING_SLOTS
    slots[5] = slots[6] = slots[7] = slots[8] = DIRTY | 1 << 16 | 2
    rings[:RING_SIZE] = slots.tobytes()
    words = [word(5, 1, 3, now), word(6, 1, 90, now), word(7, 2, 3, now), word(9, 1, 3, now), word(8, 3, 3, now)]
    flows[: 8 * len(words)] = array("Q", words).tobytes()
    assert FlowTable(flows, 8, lambda: now).clean(rings, 0, {1, 2}, 20.0) == 1
    found = array("I", rings[: 4 * 10])
    assert [found[slot] for slot in (5, 6, 7, 8)] == [slots[5], clean(2), clean(2), clean(2)]
    left = array("Q", flows[:64]).tolist()
    assert left == [words[0], 0, 0, words[3], words[4], 0, 0, 0]


@needs_library
def test_purging_forgets_the_flows_of_gone_backends_only() -> None:
    """Their index can then be given to somebody else."""
    flows = mmap(-1, 64)
    words = [word(1, 1, 0, 9), word(2, 2, 0, 9), word(3, 1, 0, 9)]
    flows[:24] = array("Q", words).tobytes()
    assert FlowTable(flows, 8).purge({1}) == 2
    assert array("Q", flows[:24]).tolist() == [0, words[1], 0]

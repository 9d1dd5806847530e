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
from bascule.dataplanes.xdp.history import DIRTY, GUESS, clean, clean_slot, current, merge_slot, old, presume, way
from bascule.dataplanes.xdp.layout import RING_SIZE, RING_SLOTS

needs_library = pytest.mark.skipif(
    not (native.DIRECTORY / "libbascule.so").exists(), reason="needs libbascule.so: run `make native`"
)
BACKENDS = st.integers(1, 4)
FLOWS = st.integers(0, 2)
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


def test_a_flow_that_nobody_remembers_is_presumed_at_either_owner() -> None:
    """First at the old owner, from there at the current one; and so still after the slot changed hands again."""
    slot = DIRTY | 1 << 16 | 2
    assert presume(slot, {1, 2, 3}) == GUESS | 2
    assert way(slot, GUESS | 2, {1, 2, 3}) == (1, 2)
    assert way(merge_slot(slot, 3, {1, 2, 3}), GUESS | 2, {1, 2, 3}) == (1, 2)
    assert way(merge_slot(slot, 3, {2, 3}), GUESS | 2, {2, 3}) == (3, 2)


def test_there_is_nothing_to_guess_with_one_owner() -> None:
    """When the old owner is gone, or is the current one, or hypervisors know no second chance: as ever."""
    slot = DIRTY | 1 << 16 | 2
    assert presume(slot, {2}) == 2
    assert presume(slot, {1}) == 1
    assert presume(DIRTY | 1 << 16 | 1, {1, 2}) == 1
    assert presume(slot, {1, 2}, second_chance=False) == 1
    assert way(slot, GUESS | 2, {2}) == (2, 0)


def test_a_guess_holds_its_slot() -> None:
    """Its flow may be at the old owner, though it names the current one."""
    slot = DIRTY | 1 << 16 | 2
    assert clean_slot(slot, {2, GUESS | 2}) == slot


class Node:
    """One slot of one LB node's ring, and its table of flows, which never overflows."""

    def __init__(self) -> None:
        self.slot = clean(1)
        self.table: dict[int, tuple[int, int]] = {}

    def packet(self, flow: int, now: int, alive: set[int], *, opens: bool) -> tuple[int, int]:
        """What bpf/choose.h does with a packet; returns the backend, and the one after it."""
        if not self.slot & DIRTY:
            return current(self.slot), 0
        remembered, _ = self.table.get(flow, (0, 0))
        if opens:
            remembered = current(self.slot)
        elif remembered & ~GUESS not in alive:
            remembered = presume(self.slot, alive)
        if remembered:
            self.table[flow] = remembered, now
        return way(self.slot, remembered, alive)

    def finds(self, flow: int, backend: int, alive: set[int]) -> bool:
        """Whether this node can know where a flow is that began through another one."""
        if not self.slot & DIRTY:
            return current(self.slot) == backend
        remembered, _ = self.table.get(flow, (0, 0))
        if remembered & ~GUESS in alive:
            return backend in way(self.slot, remembered, alive)
        return backend in (current(self.slot), old(self.slot))


NODES = st.integers(0, 1)


class TwoNodes(RuleBasedStateMachine):
    """Two LB nodes and the flows that hash to one slot, each through one of the nodes until that dies.

    Hypervisors know which flows their instances have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = {1, 2, 3, 4}
        self.nodes = Node(), Node()
        self.now = self.changed_at = 0
        self.flows: dict[int, tuple[int, int, int]] = {}  # backend, node, last packet

    def send(self, node: int, flow: int, *, opens: bool) -> int:
        """Where a packet arrives."""
        first, second = self.nodes[node].packet(flow, self.now, self.alive, opens=opens)
        return first if not second or self.flows.get(flow, (0, 0, 0))[0] == first else second

    @rule(flow=FLOWS, node=NODES)
    def open(self, flow: int, node: int) -> None:
        """A client opens a connection, perhaps from a port it used before, but not lately through the other node."""
        self.nodes[1 - node].table.pop(flow, None)
        self.flows[flow] = self.send(node, flow, opens=True), node, self.now

    @rule(flow=FLOWS)
    def continues(self, flow: int) -> None:
        """A packet of an established flow to a living backend arrives at that backend."""
        backend, node, seen = self.flows.get(flow, (0, 0, 0))
        if backend not in self.alive or self.now - seen > IDLE:
            return
        assert self.send(node, flow, opens=False) == backend
        self.flows[flow] = backend, node, self.now

    @rule(flow=FLOWS)
    def loses_its_node(self, flow: int) -> None:
        """The same through the other node, if the slot changed hands not more than once and is not settled there."""
        backend, node, _ = self.flows.get(flow, (0, 0, 0))
        if backend in self.alive and self.nodes[1 - node].finds(flow, backend, self.alive):
            self.flows[flow] = backend, 1 - node, self.now
            assert self.send(1 - node, flow, opens=False) == backend

    @rule(flow=FLOWS, node=NODES)
    def stray(self, flow: int, node: int) -> None:
        """A packet of no connection changes nothing for the others."""
        if flow not in self.flows:
            self.send(node, flow, opens=False)

    @rule(owner=st.integers(0, 4))
    def change(self, owner: int) -> None:
        """The rings give the slot to a living backend, or to none."""
        if owner and owner not in self.alive:
            return
        for node in self.nodes:
            merged = merge_slot(node.slot, owner, self.alive)
            if merged != node.slot:
                self.changed_at = self.now
            node.slot = merged

    @precondition(lambda self: len(self.alive) > 1)
    @rule(backend=BACKENDS, owner=BACKENDS)
    def die(self, backend: int, owner: int) -> None:
        """A backend is removed: another one gets its slot, and the tables forget it."""
        if backend not in self.alive or owner == backend or owner not in self.alive:
            return
        self.alive.discard(backend)
        self.change(owner)
        for node in self.nodes:
            node.table = {flow: word for flow, word in node.table.items() if word[0] & ~GUESS != backend}
        self.flows = {flow: known for flow, known in self.flows.items() if known[0] != backend}

    @rule(backend=BACKENDS)
    def join(self, backend: int) -> None:
        """A backend comes; in the driver it would have a new index, as its flows are forgotten."""
        self.alive.add(backend)

    @rule(ticks=st.integers(1, IDLE))
    def wait(self, ticks: int) -> None:
        """Time passes, through which flows may be silent."""
        self.now += ticks

    @precondition(lambda self: self.now - self.changed_at > IDLE)
    @rule(number=NODES)
    def scan(self, number: int) -> None:
        """The driver cleans the slot if no flow seen lately lives elsewhere."""
        node = self.nodes[number]
        lately = {remembered for remembered, seen in node.table.values() if self.now - seen <= IDLE}
        node.slot = clean_slot(node.slot, lately)
        if not node.slot & DIRTY:
            node.table.clear()

    @invariant()
    def a_clean_slot_remembers_nothing(self) -> None:
        """A stale word could capture a later connection of the same client and port."""
        assert all(node.slot & DIRTY or not node.table for node in self.nodes)


TwoNodes.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
test_no_flow_to_a_living_backend_ever_moves = TwoNodes.TestCase

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
    slots[5] = slots[6] = slots[7] = slots[8] = slots[9] = DIRTY | 1 << 16 | 2
    rings[:RING_SIZE] = slots.tobytes()
    words = [word(5, 1, 3, now), word(6, 1, 90, now), word(7, 2, 3, now), word(4, 1, 3, now), word(8, 3, 3, now)]
    words += [word(9, GUESS | 2, 3, now), word(8, GUESS | 2, 90, now)]
    flows[: 8 * len(words)] = array("Q", words).tobytes()
    assert FlowTable(flows, 8, lambda: now).clean(rings, 0, {1, 2}, 20.0) == 2
    found = array("I", rings[: 4 * 10])
    assert [found[slot] for slot in (5, 6, 7, 8, 9)] == [slots[5], clean(2), clean(2), clean(2), slots[9]]
    left = array("Q", flows[:64]).tolist()
    assert left == [words[0], 0, 0, words[3], words[4], words[5], 0, 0]


@needs_library
def test_purging_forgets_the_flows_of_gone_backends_only() -> None:
    """Their index can then be given to somebody else."""
    flows = mmap(-1, 64)
    words = [word(1, 1, 0, 9), word(2, 2, 0, 9), word(3, GUESS | 1, 0, 9)]
    flows[:24] = array("Q", words).tobytes()
    assert FlowTable(flows, 8).purge({1}) == 2
    assert array("Q", flows[:24]).tolist() == [0, words[1], 0]

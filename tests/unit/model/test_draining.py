"""When members of a pool begin and cease to drain."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from bascule.model.draining import follow
from bascule.model.instance_pools import Instance, InstancePool
from tests.unit.balancing.world import instance

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER, LATEST = NOW + timedelta(minutes=5), NOW + timedelta(minutes=10)
VM1, VM2, VM3 = instance(1, 1), instance(2, 2), instance(3, 1)


def pool(*members: Instance, size: int | None = None) -> InstancePool:
    """A pool of these members."""
    return InstancePool(id=UUID(int=2), name="pool", members=members, size=size)


def test_who_serves_no_more_drains_until_the_deadline() -> None:
    """Whether the pool shrinks, or a member is evicted, drained or removed."""
    before = pool(VM1, VM2)
    assert list(follow(before, pool(VM1, VM2, size=1), LATER)) == [replace(VM2, drain_until=LATER)]
    for gone in (replace(VM2, evicted=True), replace(VM2, drained=True), replace(VM2, leaving=True)):
        assert list(follow(before, pool(VM1, gone), LATER)) == [replace(gone, drain_until=LATER)]


def test_who_is_pushed_out_by_an_older_member_drains() -> None:
    """In a pool of two, the third makes room when the first serves again."""
    before = pool(replace(VM1, drained=True), VM2, VM3, size=2)
    assert list(follow(before, pool(VM1, VM2, VM3, size=2), LATER)) == [replace(VM3, drain_until=LATER)]


def test_who_serves_again_drains_no_more() -> None:
    """Its deadline is gone."""
    drains = replace(VM2, drained=True, drain_until=LATER)
    assert list(follow(pool(VM1, drains), pool(VM1, replace(drains, drained=False)), LATER)) == [VM2]


def test_a_drain_goes_on_through_other_changes_and_the_last_word_on_it_counts() -> None:
    """Its own deadline stays, unless it was asked to drain anew."""
    before = pool(VM1, replace(VM2, drained=True, drain_until=LATER))
    assert list(follow(before, before, LATEST)) == []
    assert [each.drain_until for each in follow(before, before, LATEST, {VM2.id})] == [LATEST]
    assert [each.drain_until for each in follow(before, before, None, {VM2.id})] == [None]


def test_who_did_not_serve_has_nothing_to_keep() -> None:
    """One that stood by, that has drained already, or whose machine stopped does not drain."""
    drained, stopped = replace(VM2, drained=True), replace(VM3, stopped=True)
    before = pool(VM1, drained, stopped, size=1)
    after = pool(VM1, replace(drained, evicted=True), replace(stopped, evicted=True), size=1)
    assert list(follow(before, after, LATER, {VM2.id, VM3.id})) == []


def test_who_leaves_without_draining_is_given_up_at_once() -> None:
    """Its row is to be deleted: it is named, with no deadline."""
    gone = replace(VM2, leaving=True)
    assert list(follow(pool(VM1, VM2), pool(VM1, gone), None)) == [gone]


def test_members_that_drain_are_carried_with_weight_zero() -> None:
    """Beside those that serve, and only while they drain."""
    drains = replace(VM2, drained=True, drain_until=LATER, weight=7)
    found = pool(VM1, drains, replace(VM3, drained=True)).carried
    assert [(each.id, each.weight) for each in found] == [(VM1.id, 1), (VM2.id, 0)]

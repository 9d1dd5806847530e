"""Which commands an agent obeys."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from bascule.agents import fencing
from bascule.agents.fencing import TOMBSTONES_MAX, DesiredState
from bascule.model.configurations import ForwardingConfiguration, Version
from bascule.model.errors import StaleCommand

LB = UUID(int=1)


def order(epoch: int, generation: int, number: int = 1) -> ForwardingConfiguration:
    return ForwardingConfiguration(load_balancer_id=UUID(int=number), version=Version(epoch, generation))


def told(*orders: ForwardingConfiguration) -> DesiredState[ForwardingConfiguration]:
    state: DesiredState[ForwardingConfiguration] = DesiredState()
    for each in orders:
        state = fencing.put(state, each)
    return state


@pytest.mark.parametrize("version", [(5, 7), (5, 8), (6, 1)])
def test_the_same_or_a_newer_version_is_obeyed(version: tuple[int, int]) -> None:
    """A repeated message, a later generation and a later lease are obeyed."""
    assert told(order(5, 7), order(*version)).of(LB) == order(*version)


@pytest.mark.parametrize("version", [(5, 6), (4, 9)])
def test_an_older_version_is_refused(version: tuple[int, int]) -> None:
    """An earlier generation and an earlier lease are refused, whatever is asked."""
    state = told(order(5, 7))
    with pytest.raises(StaleCommand):
        fencing.put(state, order(*version))
    with pytest.raises(StaleCommand):
        fencing.remove(state, LB, Version(*version))


def test_the_commands_of_one_job_have_an_order() -> None:
    """A copy of its first command that comes after its second is refused; the second again is obeyed."""
    first = order(5, 7)
    second = replace(first, version=first.version.next)
    state = told(first, second)
    assert fencing.put(state, second) == state
    with pytest.raises(StaleCommand):
        fencing.put(state, first)
    assert fencing.put(state, order(5, 8)).of(LB) == order(5, 8)


def test_a_late_command_does_not_bring_back_what_was_removed() -> None:
    """After a removal only a newer version is obeyed, not the one that was removed with."""
    state = fencing.remove(told(order(5, 7)), LB, Version(5, 7))
    assert state.of(LB) is None
    with pytest.raises(StaleCommand):
        fencing.put(state, order(5, 7))
    assert fencing.put(state, order(6, 7)).of(LB) == order(6, 7)


def test_removing_twice_and_removing_the_unknown_is_fine() -> None:
    """Removal is idempotent, and remembered even for what was never there."""
    state = fencing.remove(told(), LB, Version(5, 7))
    state = fencing.remove(state, LB, Version(5, 7))
    assert len(state.tombstones) == 1
    with pytest.raises(StaleCommand):
        fencing.put(state, order(5, 6))


def test_load_balancers_are_fenced_apart() -> None:
    """A high epoch of one load balancer says nothing about another."""
    assert len(told(order(9, 9, 1), order(1, 1, 2)).configurations) == 2


def test_tombstones_are_bounded() -> None:
    """The oldest removals are forgotten first."""
    state = told()
    for number in range(TOMBSTONES_MAX + 5):
        state = fencing.remove(state, UUID(int=number), Version(1, 1))
    assert len(state.tombstones) == TOMBSTONES_MAX
    assert state.tombstones[0].load_balancer_id == UUID(int=5)

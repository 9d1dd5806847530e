"""Quorum with hysteresis: the rule as a table, and the events."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.agents.lb_node.quorum import events, has_quorum, quorums
from bascule.healthchecks.interface import HealthEvent, TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import BalancerConfiguration
from bascule.model.health_checks import Health
from tests.unit.agents.builders import VIP, backend, balancer, service

SERVICE = UUID(int=1)
# Quorum, hysteresis, then sums of weights in time and the state after each (U = up, d = down).
TABLE = [
    (1, 0, [3, 1, 0, 1], "UUdU"),
    (3, 0, [3, 2, 3], "UdU"),
    (3, 1, [3, 2, 1, 3, 4, 2, 1], "UUddUUd"),
    (3, 2, [1, 0, 4, 5, 1, 0], "UddUUd"),
    (10, 9, [1, 0, 18, 19], "UddU"),
]


@pytest.mark.parametrize(("quorum", "hysteresis", "weights", "expected"), TABLE)
def test_the_rule_is_keepaliveds(quorum: int, hysteresis: int, weights: list[int], expected: str) -> None:
    """Down below quorum - hysteresis or at nothing, up again at quorum + hysteresis."""
    up, seen = True, ""
    for weight in weights:
        up = has_quorum(up, weight, quorum, hysteresis)
        seen += "U" if up else "d"
    assert seen == expected


@given(st.lists(st.integers(-2, 2), max_size=50), st.integers(3, 20))
def test_small_steps_inside_the_band_change_nothing(steps: list[int], quorum: int) -> None:
    """Inside the band a service keeps its state, whichever that is."""
    for up in (True, False):
        assert all(has_quorum(up, quorum + step, quorum, 2) is up for step in steps if abs(step) < 2)


def world(*up: int, quorum: int = 2, members: int = 3) -> tuple[BalancerConfiguration, dict[TargetKey, Verdict]]:
    """A service of instances that are judged, those of these numbers healthy."""
    one = service(*(backend(number) for number in range(1, members + 1)))
    one = replace(one, health_check=replace(one.health_check, quorum=quorum))
    verdicts = {
        TargetKey(SERVICE, UUID(int=number)): Verdict(Health.SUCCESS if number in up else Health.FAILURE)
        for number in range(1, members + 1)
    }
    return balancer(one), verdicts


def test_a_service_has_no_state_until_every_instance_is_judged() -> None:
    """The first moments of a service are neither an event nor a reason for the sorry server."""
    configuration, verdicts = world(1, 2)
    del verdicts[TargetKey(SERVICE, UUID(int=3))]
    assert quorums([configuration], verdicts, {}) == {}
    assert quorums([configuration], verdicts, {SERVICE: True}) == {SERVICE: True}


def test_the_weights_that_checks_found_count() -> None:
    """An instance whose check says 0 adds nothing, one that says 50 adds 50."""
    configuration, verdicts = world(1, 2, quorum=50)
    assert quorums([configuration], verdicts, {}) == {SERVICE: False}
    verdicts[TargetKey(SERVICE, UUID(int=1))] = Verdict(Health.SUCCESS, weight=50)
    assert quorums([configuration], verdicts, {}) == {SERVICE: True}
    verdicts[TargetKey(SERVICE, UUID(int=1))] = Verdict(Health.SUCCESS, weight=0)
    assert quorums([configuration], verdicts, {}) == {SERVICE: False}


def test_events_tell_of_changes_alone() -> None:
    """The first state and every other one is an event; the same again is none, and a service that went is none."""
    configuration, _ = world()
    down = HealthEvent("service", SERVICE, VIP, 80, False)
    assert events([configuration], {}, {SERVICE: False}) == (down,)
    assert events([configuration], {SERVICE: False}, {SERVICE: False}) == ()
    assert events([configuration], {SERVICE: False}, {SERVICE: True}) == (replace(down, up=True),)
    assert events([configuration], {SERVICE: False}, {}) == ()

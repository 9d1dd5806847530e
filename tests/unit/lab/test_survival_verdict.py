"""From records to figures, and from figures to a verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bascule.lab.survival.flows import Kind, Record
from bascule.lab.survival.verdict import Budget, Figures, Verdict, curve, figures, judge

_INTERVAL, _FAULT, _END = 0.05, 100.0, 110.0
_STRICT, _OWN = Budget(silence=0.05), Budget(silence=0.05, own=True)


def _held(silence: float = 0.0, *, kind: Kind = Kind.HELD, at: float = _FAULT + 1, instance: str = "vm2") -> Record:
    """A flow that was silent for so long beyond the pause between two beats, until `at`."""
    gaps = ((at - silence - _INTERVAL, at),) if silence else ()
    return Record(kind=kind, instance=instance, began=90.0, opening=0.001, sent=10, gaps=gaps)


def _figures(*records: Record, hurt: str = "") -> Figures:
    return figures(records, fault_at=_FAULT, ended_at=_END, interval=_INTERVAL, hurt=frozenset({hurt} if hurt else ()))


def test_quiet_flows_keep_every_budget() -> None:
    """Nothing happened: nothing is broken, silent or moved, and all was well at once."""
    found = _figures(_held(), _held(kind=Kind.DATAGRAMS), _held(kind=Kind.CONTROL))
    assert (found.connections, found.datagram_flows, found.broken, found.moved) == (1, 1, 0, 0)
    assert (found.silence, found.noise, found.well_after) == (0.0, 0.0, 0.0)
    assert judge(found, _STRICT).verdict is Verdict.KEPT


@pytest.mark.parametrize(
    ("silence", "noise", "verdict"),
    [
        (0.04, 0.0, Verdict.KEPT),
        (0.2, 0.0, Verdict.MISSED),
        (0.2, 0.1, Verdict.MISSED),
        (0.2, 0.16, Verdict.NOISE),
        (0.2, 0.3, Verdict.NOISE),
    ],
)
@pytest.mark.parametrize("kind", [Kind.HELD, Kind.NEW, Kind.DATAGRAMS])
def test_noise_excuses_only_as_much_as_it_is(silence: float, noise: float, verdict: Verdict, kind: Kind) -> None:
    """A silence is missed when it exceeds the budget by more than the controls were silent."""
    found = _figures(_held(silence, kind=kind), _held(noise, kind=Kind.CONTROL))
    assert judge(found, _STRICT).verdict is verdict


@pytest.mark.parametrize(
    ("silence", "noise", "doubtful"),
    [(0.04, 0.3, False), (0.2, 0.01, False), (0.06, 0.02, True), (0.2, 0.1, True), (0.2, 0.3, True)],
)
def test_noise_makes_a_silence_doubtful_but_no_break(silence: float, noise: float, doubtful: bool) -> None:
    """Too long a silence under noise that explains it, or that is itself above the budget, is worth another try."""
    flows = _held(silence), _held(noise, kind=Kind.CONTROL)
    assert judge(_figures(*flows), _STRICT).doubtful is doubtful
    broken = replace(_held(), broken="Connection reset by peer", broken_at=_FAULT + 2)
    assert not judge(_figures(*flows, broken), _STRICT).doubtful


def test_what_happened_before_the_fault_does_not_count() -> None:
    """A silence that ended before the fault is none of its doing: it is noise, and excuses as much later on."""
    found = _figures(_held(0.5, at=_FAULT - 1), _held(0.4))
    assert found.silence == pytest.approx(0.4)
    assert found.noise == pytest.approx(0.5)
    assert judge(found, _STRICT).verdict is Verdict.NOISE


def test_a_broken_connection_misses_every_budget() -> None:
    """One is enough, and its reason is told."""
    broken = replace(_held(), broken="Connection reset by peer", broken_at=_FAULT + 2)
    judged = judge(_figures(broken), Budget(silence=None))
    assert judged.verdict is Verdict.MISSED
    assert "1 connections broke (Connection reset by peer)." in judged.missed


def test_a_hurt_instance_may_lose_its_own() -> None:
    """Its connections may break and be silent, new ones be refused; those of the others may not."""
    own = replace(_held(2.0, instance="vm1"), broken="closed by the other end", broken_at=_FAULT + 1)
    refused = replace(_held(kind=Kind.NEW, instance=""), began=_FAULT + 1, refused="Connection refused")
    found = _figures(own, refused, _held(), hurt="vm1")
    assert (found.broken, found.broken_elsewhere, found.refused, found.silence_elsewhere) == (1, 0, 1, 0.0)
    assert judge(found, _OWN).verdict is Verdict.KEPT
    assert judge(found, _STRICT).verdict is Verdict.MISSED
    elsewhere = replace(own, instance="vm2")
    assert judge(_figures(own, elsewhere, hurt="vm1"), _OWN).verdict is Verdict.MISSED


def test_controls_of_a_hurt_instance_are_no_noise() -> None:
    """What the fault itself does to an instance excuses nothing."""
    control = _held(3.0, kind=Kind.CONTROL, instance="vm1")
    assert _figures(_held(), control, hurt="vm1").noise == 0.0
    assert _figures(_held(), control).noise == pytest.approx(3.0)


def test_all_is_well_after_the_last_trouble() -> None:
    """The end of the last silence, slow opening, refusal or break, whichever is last; never, when one goes on."""
    silent, slow = _held(0.4, at=_FAULT + 1.5), replace(_held(kind=Kind.NEW), began=_FAULT + 1, opening=1.0)
    assert _figures(silent).well_after == pytest.approx(1.5)
    assert _figures(silent, slow).well_after == pytest.approx(2.0)
    refused = replace(_held(kind=Kind.NEW), began=_FAULT + 3, refused="Connection refused")
    assert _figures(silent, slow, refused).well_after == pytest.approx(3.0)
    assert _figures(silent, _held(4.0, at=_END + 1.5)).well_after is None


def test_moves_and_losses_are_counted() -> None:
    """Flows that moved count once each, datagrams one by one."""
    moved = replace(_held(kind=Kind.DATAGRAMS), moves=(_FAULT + 1, _FAULT + 2), lost=3)
    found = _figures(moved, replace(_held(), moves=(_FAULT + 1,)), _held())
    assert (found.moved, found.moved_datagram_flows, found.lost_datagrams, found.sent_datagrams) == (1, 1, 3, 10)


def test_a_curve_climbs_while_a_silence_goes_on() -> None:
    """At each moment it shows the longest silence so far, and nothing once it has ended."""
    points = curve([_held(0.4, at=101.0)], begin=100.0, end=102.0, step=0.1, interval=_INTERVAL)
    heights = {round(at, 1): round(value, 2) for at, value in points}
    assert heights[0.5] == 0.0
    assert 0.0 < heights[0.7] < heights[0.9] <= 0.4
    assert heights[1.2] == 0.0
    assert len(points) == 20

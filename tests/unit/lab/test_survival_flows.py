"""The books of one flow: sequence, silence, moves, losses."""

from __future__ import annotations

from bascule.lab.survival.flows import PATIENCE, Flow, Kind, Record

_INTERVAL = 0.05


def _flow(kind: Kind = Kind.HELD) -> Flow:
    flow = Flow(kind, _INTERVAL, began=1.0)
    if kind is not Kind.DATAGRAMS:
        flow.greeted("vm1", 1.02)
    return flow


def _exchange(flow: Flow, count: int, *, begin: float = 1.05, name: str = "vm1") -> float:
    """So many beats, each answered at once; when the next is due."""
    for _ in range(count):
        flow.answered(name, flow.beat(begin), begin + 0.001)
        begin += _INTERVAL
    return begin


def test_a_flow_that_is_answered_is_well() -> None:
    """Every beat answered in turn: no gap, no break, no move, and the opening is what the greeting took."""
    flow = _flow()
    end = _exchange(flow, 10)
    record = flow.finish(end)
    assert (record.sent, record.gaps, record.broken, record.moves, record.lost) == (10, (), "", (), 0)
    assert record.instance == "vm1"
    assert round(record.opening, 3) == 0.02


def test_a_skipped_answer_breaks_a_connection() -> None:
    """TCP loses nothing: an answer that is not the one due says that this is another connection."""
    flow = _flow()
    now = _exchange(flow, 2)
    flow.beat(now)
    flow.answered("vm1", flow.beat(now + _INTERVAL), now + _INTERVAL)
    assert flow.finish(now + 0.1).broken == "answer 4 came where 3 was due"


def test_a_doubled_answer_breaks_a_connection() -> None:
    """TCP doubles nothing."""
    flow = _flow()
    now = _exchange(flow, 2)
    flow.answered("vm1", 2, now)
    record = flow.finish(now)
    assert record.duplicates == 1
    assert record.broken


def test_a_silence_is_written_down_when_it_ends() -> None:
    """Beats that wait and are all answered at once make one gap, from the last answer to the first new one."""
    flow = _flow()
    now = _exchange(flow, 3)
    numbers = [flow.beat(now + index * _INTERVAL) for index in range(5)]
    for number in numbers:
        flow.answered("vm1", number, now + 0.3)
    record = flow.finish(now + 0.31)
    assert len(record.gaps) == 1
    start, stop = record.gaps[0]
    assert round(stop - start, 3) == round(0.3 + _INTERVAL - 0.001, 3)
    assert not record.broken


def test_waiting_for_the_others_is_no_silence() -> None:
    """What passes between the greeting and the beginning of the measurement is not written down."""
    flow = _flow()
    flow.begin(9.0)
    assert flow.finish(_exchange(flow, 3, begin=9.01)).gaps == ()


def test_a_silence_that_does_not_end_is_a_gap_and_then_a_break() -> None:
    """What is silent in the end counts until the end; beyond patience the connection is broken."""
    for extra, broken in ((-1.0, ""), (0.5, "no answer in time")):
        flow = _flow()
        now = _exchange(flow, 3)
        flow.beat(now)
        record = flow.finish(now + PATIENCE + extra)
        assert record.gaps[0][1] == now + PATIENCE + extra
        assert record.broken == broken


def test_another_instance_is_a_move() -> None:
    """A flow that another instance answers has moved, once for each change; the first instance stays its own."""
    flow = _flow(Kind.DATAGRAMS)
    now = _exchange(flow, 2)
    now = _exchange(flow, 2, begin=now, name="vm2")
    record = flow.finish(now)
    assert record.instance == "vm1"
    assert len(record.moves) == 1


def test_datagrams_may_be_lost_and_late() -> None:
    """A flow of datagrams is never broken: unanswered ones are lost once a second has passed, late ones are not."""
    flow = _flow(Kind.DATAGRAMS)
    now = _exchange(flow, 2)
    late, lost = flow.beat(now), flow.beat(now + _INTERVAL)
    flow.answered("vm1", flow.beat(now + 2 * _INTERVAL), now + 2 * _INTERVAL)
    flow.answered("vm1", late, now + 3 * _INTERVAL)
    flow.beat(now + 4 * _INTERVAL)
    record = flow.finish(now + lost * 0 + 1.2)
    assert (record.lost, record.duplicates, record.broken) == (1, 0, "")


def test_the_first_reason_counts() -> None:
    """What breaks a connection is what happened first, and when."""
    flow = _flow()
    flow.breaks("Connection reset by peer", 2.0)
    flow.breaks("closed by the other end", 3.0)
    record: Record = flow.finish(4.0)
    assert (record.broken, record.broken_at) == ("Connection reset by peer", 2.0)
    assert not flow.open

"""Figures out of records, and a verdict on them against a budget. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from bascule.lab.survival.flows import Kind, Record

# Of those that the fault hurts nothing is expected; what else is silent for longer than this is not well yet.
_UNWELL = 0.05
# The books are closed a moment after the end: a silence that lasted until then has not ended.
_STILL = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a fault may cost. `silence` is seconds; None where nothing is promised about it.

    `own` allows the connections of the instances that the fault hurts to break, and new ones to be refused meanwhile.
    """

    silence: float | None
    own: bool = False


class Verdict(StrEnum):
    """How a fault did."""

    KEPT = "kept"
    NOISE = "kept, but for this machine's own noise"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One fault in numbers. Times are seconds; `well_after` is None when all was not well in the end.

    `broken` and `silence` are of flows through the VIP; `broken_elsewhere` and `silence_elsewhere` leave out those of
    the instances that the fault hurts. `noise` is the longest silence that is none of the fault's doing: of a control
    connection to an instance that the fault does not hurt, or of any flow before the fault.
    """

    connections: int
    datagram_flows: int
    opened: int
    broken: int
    broken_elsewhere: int
    why_broken: tuple[str, ...]
    moved: int
    moved_datagram_flows: int
    silence: float
    silence_elsewhere: float
    silence_of_datagrams: float
    lost_datagrams: int
    sent_datagrams: int
    refused: int
    why_refused: tuple[str, ...]
    slowest_new: float
    noise: float
    well_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict and what was missed, a sentence each. `doubtful`: too much noise to tell, so measure again.

    What broke is never in doubt, whatever the noise.
    """

    verdict: Verdict
    missed: tuple[str, ...] = ()
    doubtful: bool = False


def figures(
    records: Iterable[Record], *, fault_at: float, ended_at: float, interval: float, hurt: Set[str] = frozenset()
) -> Figures:
    """Count what happened from `fault_at` on; what was silent until `ended_at` was not well in the end."""
    everyone = tuple(records)
    flows = [each for each in everyone if each.kind is not Kind.CONTROL]
    controls = [each for each in everyone if each.kind is Kind.CONTROL and each.instance not in hurt]
    tcp = [each for each in flows if each.kind is not Kind.DATAGRAMS]
    datagrams = [each for each in flows if each.kind is Kind.DATAGRAMS]
    broken = [each for each in tcp if each.broken]
    refused = [each for each in tcp if each.refused]
    others = [each for each in flows if each.instance not in hurt]
    noise = max(_longest(controls, interval), _longest(everyone, interval, until=fault_at))
    return Figures(
        connections=sum(each.kind is Kind.HELD for each in flows),
        datagram_flows=len(datagrams),
        opened=sum(each.kind is Kind.NEW for each in flows),
        broken=len(broken),
        broken_elsewhere=sum(each.instance not in hurt for each in broken),
        why_broken=tuple(sorted({each.broken for each in broken})),
        moved=sum(bool(each.moves) for each in tcp),
        moved_datagram_flows=sum(bool(each.moves) for each in datagrams),
        silence=_longest(tcp, interval, fault_at),
        silence_elsewhere=_longest(others, interval, fault_at),
        silence_of_datagrams=_longest(datagrams, interval, fault_at),
        lost_datagrams=sum(each.lost for each in datagrams),
        sent_datagrams=sum(each.sent for each in datagrams),
        refused=len(refused),
        why_refused=tuple(sorted({each.refused for each in refused})),
        slowest_new=max((each.opening for each in tcp if each.kind is Kind.NEW and not each.refused), default=0.0),
        noise=noise,
        well_after=_well_after(flows, fault_at, ended_at, interval, noise),
    )


def judge(found: Figures, budget: Budget) -> Judgement:
    """Compare. A silence that exceeds the budget by no more than the noise is the machine's, not ours."""
    missed = []
    broken = found.broken_elsewhere if budget.own else found.broken
    if broken:
        missed.append(f"{broken} connections broke ({', '.join(found.why_broken)}).")
    if found.refused and not budget.own:
        missed.append(f"{found.refused} new connections failed ({', '.join(found.why_refused)}).")
    silence = found.silence_elsewhere if budget.own else max(found.silence, found.silence_of_datagrams)
    allowed = inf if budget.silence is None else budget.silence
    doubtful = not missed and silence > allowed and found.noise >= min(allowed, silence - allowed)
    if silence > allowed + found.noise:
        missed.append(
            f"The longest silence was {silence * 1000:.0f} ms, {allowed * 1000:.0f} ms are allowed,"
            f" {found.noise * 1000:.0f} ms is this machine's noise."
        )
    verdict = Verdict.MISSED if missed else Verdict.NOISE if silence > allowed else Verdict.KEPT
    return Judgement(verdict=verdict, missed=tuple(missed), doubtful=doubtful)


def curve(
    records: Iterable[Record], *, begin: float, end: float, step: float, interval: float
) -> tuple[tuple[float, float], ...]:
    """The longest silence that went on at each moment: pairs of seconds since `begin`, and seconds of silence."""
    count = max(1, int((end - begin) / step))
    worst = [0.0] * count
    for record in records:
        for start, stop in record.gaps:
            first, last = int((start + interval - begin) / step), int((stop - begin) / step)
            for index in range(max(0, first), min(count, last + 1)):
                until = min(stop, begin + (index + 1) * step)
                worst[index] = max(worst[index], until - start - interval)
    return tuple((index * step, value) for index, value in enumerate(worst))


def _longest(records: Iterable[Record], interval: float, since: float = -inf, *, until: float = inf) -> float:
    """The longest silence, beyond the pause between two heartbeats, that ended between the two moments."""
    gaps = (stop - start - interval for each in records for start, stop in each.gaps if since < stop <= until)
    return max(gaps, default=0.0)


def _well_after(
    flows: Iterable[Record], fault_at: float, ended_at: float, interval: float, noise: float
) -> float | None:
    """Seconds until the last thing went wrong: a silence, a slow or refused connection, a break."""
    last, unwell = fault_at, _UNWELL + noise
    for each in flows:
        silences = [stop for start, stop in each.gaps if stop - start - interval > unwell]
        if each.kind is not Kind.DATAGRAMS and each.opening > unwell and each.began > fault_at - each.opening:
            silences.append(each.began + each.opening)
        if each.refused:
            silences.append(each.began)
        if each.broken:
            silences.append(each.broken_at)
        elif any(stop >= ended_at + _STILL for stop in silences):
            return None
        last = max(last, *silences, fault_at)
    return last - fault_at

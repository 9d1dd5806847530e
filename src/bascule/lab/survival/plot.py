"""Silence over time as SVG: a strip for each fault, all with one scale. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil

from bascule.lab.survival.flows import Kind, Record
from bascule.lab.survival.measure import Outcome
from bascule.lab.survival.verdict import curve

_WIDTH, _STRIP, _LEFT, _TOP = 860, 130, 70, 50
_STEP = 0.02
# Silences above this are cut off, or one would flatten all others.
_MOST = 2.0
# Of a longer watch only the last seconds are drawn.
_SECONDS = 20.0
_COLOURS = {"TCP": "#c33", "UDP": "#36c", "controls (noise)": "#999"}


def draw(outcomes: Sequence[Outcome]) -> str:
    """The longest silence at each moment of each fault's last seconds, of TCP connections, UDP flows and controls."""
    seconds = max(each.ended - _begin(each) for each in outcomes)
    height = _TOP + _STRIP * len(outcomes) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(_LEFT, 20, "The longest silence at each moment, in seconds since the fault", size=15),
        *(
            _text(_LEFT + 150 * index, 40, f"<tspan fill='{colour}'>■</tspan> {escape(name)}")
            for index, (name, colour) in enumerate(_COLOURS.items())
        ),
    ]
    for index, each in enumerate(outcomes):
        parts += _strip(each, _TOP + _STRIP * index, seconds)
    return "\n".join([*parts, "</svg>", ""])


def _begin(outcome: Outcome) -> float:
    return max(outcome.began, outcome.ended - _SECONDS)


def _strip(outcome: Outcome, top: float, seconds: float) -> list[str]:
    curves = {name: _curve(outcome, records) for name, records in _groups(outcome).items()}
    most = min(_MOST, max(0.1, *(value for points in curves.values() for _, value in points)))
    bottom = top + _STRIP - 20
    scale_x, scale_y = (_WIDTH - _LEFT - 20) / seconds, (_STRIP - 50) / most

    def x(since_begin: float) -> float:
        return _LEFT + scale_x * since_begin

    def y(silence: float) -> float:
        return bottom - scale_y * min(silence, most)

    begin = _begin(outcome)
    parts = [
        _text(_LEFT, top + 16, escape(f"{outcome.fault.name}: {outcome.fault.sentence}"), size=12),
        f'<path d="M{_LEFT} {bottom}H{_WIDTH - 20}" stroke="#aaa"/>',
        _text(_LEFT - 6, y(most) + 4, f"{most * 1000:.0f} ms", anchor="end"),
        _text(_LEFT - 6, bottom + 4, "0", anchor="end"),
    ]
    allowed = outcome.fault.budget.silence
    if allowed is not None and allowed <= most:
        parts.append(f'<path d="M{_LEFT} {y(allowed):.1f}H{_WIDTH - 20}" stroke="#0a0" stroke-dasharray="4 4"/>')
    for at, words in ((outcome.fault_at, "the fault"), *outcome.marks):
        if at >= begin:
            height = _STRIP - 44 if at == outcome.fault_at else 6
            parts.append(
                f'<path d="M{x(at - begin):.1f} {bottom - height}V{bottom + 3}" stroke="#000">'
                f"<title>{escape(words)}</title></path>"
            )
    first = ceil(begin - outcome.fault_at)
    for second in range(first, int(outcome.ended - outcome.fault_at) + 1):
        place = x(outcome.fault_at + second - begin)
        parts.append(_text(place, bottom + 14, str(second), size=9, anchor="middle"))
    for name, points in curves.items():
        line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in _corners(points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_COLOURS[name]}" stroke-width="1.3"/>')
    return parts


def _groups(outcome: Outcome) -> dict[str, list[Record]]:
    kinds = {"controls (noise)": {Kind.CONTROL}, "UDP": {Kind.DATAGRAMS}, "TCP": {Kind.HELD, Kind.NEW}}
    hurt = outcome.fault.hurt
    return {
        name: [
            each for each in outcome.records if each.kind in wanted and not (name[0] == "c" and each.instance in hurt)
        ]
        for name, wanted in kinds.items()
    }


def _curve(outcome: Outcome, records: list[Record]) -> tuple[tuple[float, float], ...]:
    return curve(records, begin=_begin(outcome), end=outcome.ended, step=_STEP, interval=outcome.effort.interval)


def _corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without those whose neighbours have the same height."""
    return [
        point
        for index, point in enumerate(points)
        if index in {0, len(points) - 1} or not points[index - 1][1] == point[1] == points[index + 1][1]
    ]


def _text(x: float, y: float, words: str, *, size: int = 11, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{words}</text>'

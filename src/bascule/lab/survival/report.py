"""What `bascule lab survive` shows: a table for the terminal, JSON for programs, a page for readers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from bascule.lab.shape import Shape
from bascule.lab.survival.catalogue import ABSENT
from bascule.lab.survival.measure import Effort, Outcome
from bascule.lab.survival.verdict import Verdict

_STYLES = {Verdict.KEPT: "green", Verdict.NOISE: "yellow", Verdict.MISSED: "red"}
_SHORT = {Verdict.KEPT: "kept", Verdict.NOISE: "noise", Verdict.MISSED: "missed"}
_COLUMNS = ("fault", "broken", "moved", "silence", "datagrams", "lost", "refused", "slowest new", "noise", "well after")

COLUMNS_TAUGHT = """\
- **broken**: TCP connections through the VIP that were reset, closed, silent for five seconds until the end, or whose
  answers did not come each once and in order. Where the fault hurts an instance: of the others + of that one.
- **moved**: TCP connections and UDP flows that another instance answered than before.
- **silence**: the longest time, beyond the pause between two heartbeats, that a TCP connection heard nothing.
- **datagrams**: the same for a UDP flow.
- **lost**: datagrams without an answer, of all that were sent.
- **refused**: new connections that were refused, reset or not answered for five seconds.
- **slowest new**: how long the slowest new connection took until its instance spoke.
- **noise**: what the machine itself did: the longest silence of a connection straight to an instance, past the LB
  nodes, in the same loop at the same time, or of any flow before the fault. A silence is a miss only when it exceeds
  the budget by more than this.
- **well after**: seconds from the fault until the last silence above 50 ms plus noise ended, the last connection was
  refused, or the last one broke. A fault that is undone meanwhile (a session that is back) counts from its beginning.
- **budget**: what is allowed. *own* means: connections of the hurt instance may break, and new ones may be refused."""


def table(outcomes: Sequence[Outcome]) -> Table:
    """One row a fault; fits a terminal, so silences are in milliseconds and those of TCP and UDP are one."""
    heads = ("broken", "moved", "silence\nms", "lost", "refused", "noise\nms", "well\ns")
    made = Table(
        "fault",
        *(Column(head, no_wrap=True, justify="right") for head in heads),
        "",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    for each in outcomes:
        found, verdict = each.figures, each.judgement.verdict
        made.add_row(
            each.fault.name,
            _broken(each),
            str(found.moved + found.moved_datagram_flows),
            f"{_ms(max(found.silence, found.silence_of_datagrams)):.0f}",
            str(found.lost_datagrams),
            str(found.refused),
            f"{_ms(found.noise):.0f}",
            "never" if found.well_after is None else f"{found.well_after:.1f}",
            Text(_SHORT[verdict], style=_STYLES[verdict]),
        )
    return made


def missed(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each missed budget, and why where it is known."""
    return [
        " ".join([f"{each.fault.name}:", *each.judgement.missed, each.fault.why]).strip()
        for each in outcomes
        if each.judgement.missed
    ]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """One fault for programs to read; times in milliseconds."""
    found = outcome.figures
    return {
        "fault": outcome.fault.name,
        "what": outcome.fault.sentence,
        "budget": {"silence-ms": _budget_ms(outcome), "own-connections-may-break": outcome.fault.budget.own},
        "verdict": _SHORT[outcome.judgement.verdict],
        "missed": list(outcome.judgement.missed),
        "connections": found.connections,
        "datagram-flows": found.datagram_flows,
        "new-connections": found.opened,
        "broken": found.broken,
        "broken-elsewhere": found.broken_elsewhere,
        "why-broken": list(found.why_broken),
        "moved": found.moved,
        "moved-datagram-flows": found.moved_datagram_flows,
        "silence-ms": _ms(found.silence),
        "silence-elsewhere-ms": _ms(found.silence_elsewhere),
        "silence-of-datagrams-ms": _ms(found.silence_of_datagrams),
        "lost-datagrams": found.lost_datagrams,
        "sent-datagrams": found.sent_datagrams,
        "refused": found.refused,
        "why-refused": list(found.why_refused),
        "slowest-new-ms": _ms(found.slowest_new),
        "tries": outcome.tries,
        "noise-ms": _ms(found.noise),
        "well-after-ms": None if found.well_after is None else _ms(found.well_after),
        "steps": [{"at-ms": _ms(at - outcome.fault_at), "what": words} for at, words in outcome.marks],
    }


def page(outcomes: Sequence[Outcome], *, shape: Shape, machine: str, plot: str, command: str) -> str:
    """The report as Markdown; `plot` is the picture's file name beside it, `machine` says where this was measured."""
    rows = ["| " + " | ".join((*_COLUMNS, "budget", "verdict")) + " |", "| --- " * (len(_COLUMNS) + 2) + "|"]
    rows += [
        "| " + " | ".join((*_row(each), _budget(each), _SHORT[each.judgement.verdict])) + " |" for each in outcomes
    ]
    said = "\n".join(f"- `{each.fault.name}`: {each.fault.sentence}" for each in outcomes)
    absent = "\n".join(f"- {what}: {why}" for what, why in ABSENT.items())
    misses = "\n".join(f"- {line}" for line in missed(outcomes)) or "None."
    lab = f"the data plane `{shape.dataplane.value}` and the announcer `{shape.announcer.value}`"
    return f"""\
<!-- Written by `{command}`: do not edit. -->

# What survives what

Measured in the lab with {lab}: {_effort(outcomes[0].effort)}
{machine} Rerun with:

    {command}

The exit status is 1 when a budget was missed. The figures of a busy machine are coarse: compare them with the column
*noise*. *noise* as a verdict means that the budget was exceeded by less than that.{_again(outcomes)}

{chr(10).join(rows)}

## The columns

{COLUMNS_TAUGHT}

## The faults

{said}

Not in the list:

{absent}

## Missed budgets

{misses}

## Silence over time

![The longest silence at each moment, fault by fault]({plot})
"""


def _effort(effort: Effort) -> str:
    return (
        f"{effort.connections} TCP connections and {effort.datagram_flows} UDP flows through one VIP over three"
        f" instances, each asked every {effort.interval * 1000:g} ms whether the ones before were answered or not, and"
        f" {effort.rate:g} new connections a second, each of which lives for five seconds."
    )


def _again(outcomes: Sequence[Outcome]) -> str:
    again = ", ".join(f"{each.fault.name} ({each.tries} times)" for each in outcomes if each.tries > 1)
    return (
        f"""
Measured again, while noise hid the silence and nothing had broken (the last time counts, or the one with the least
noise): {again}."""
        if again
        else ""
    )


def _row(outcome: Outcome) -> tuple[str, ...]:
    found = outcome.figures
    return (
        outcome.fault.name,
        _broken(outcome),
        f"{found.moved} + {found.moved_datagram_flows}",
        f"{_ms(found.silence):.0f} ms",
        f"{_ms(found.silence_of_datagrams):.0f} ms",
        f"{found.lost_datagrams} of {found.sent_datagrams}",
        f"{found.refused} of {found.opened}",
        f"{_ms(found.slowest_new):.0f} ms",
        f"{_ms(found.noise):.0f} ms",
        _well(found.well_after),
    )


def _broken(outcome: Outcome) -> str:
    found = outcome.figures
    own = found.broken - found.broken_elsewhere
    return f"{found.broken_elsewhere} + {own}" if outcome.fault.hurt else str(found.broken)


def _well(seconds: float | None) -> str:
    return "not yet" if seconds is None else f"{seconds:.1f} s"


def _budget(outcome: Outcome) -> str:
    allowed = _budget_ms(outcome)
    return f"{'own' if outcome.fault.budget.own else 'nothing'}, {'any' if allowed is None else f'{allowed:.0f} ms'}"


def _budget_ms(outcome: Outcome) -> float | None:
    allowed = outcome.fault.budget.silence
    return None if allowed is None else _ms(allowed)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)

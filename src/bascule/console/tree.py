"""A job's steps as the tree they are, with what the reader wants to know of each. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bascule.console.words import Look, look_of
from bascule.wire.admin_v1_work import JobStepView, JobTreeView

_KINDS = {
    "sequence": "one after the other",
    "parallel": "side by side",
    "try": "try",
    "retry": "again when it fails",
    "timeout": "with a time limit",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A step or a branch. `role` is what it is to a *try* above it; `error` is empty where a child tells the same."""

    step: JobStepView
    look: Look
    role: str
    error: str
    children: tuple[Node, ...]

    @property
    def kind(self) -> str:
        """How the children run; empty for a step."""
        return "" if self.step.node == "step" else _KINDS.get(self.step.node, self.step.node)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What was given and what was answered, as text, where there is any."""
        named = (("Input", self.step.input), ("Output", self.step.output))
        return [(name, json.dumps(fact, indent=2, ensure_ascii=False)) for name, fact in named if fact is not None]


def grow(job: JobTreeView) -> tuple[Node, ...]:
    """The roots of a job's tree: one, as the orchestrator writes them."""
    below: dict[str, list[JobStepView]] = {}
    for step in job.steps:
        below.setdefault(step.path.rpartition(".")[0], []).append(step)
    return tuple(_node(step, "", below, over=job.ended_at is not None) for step in below.get("", []))


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Every node, from top to bottom."""
    for node in nodes:
        yield node
        yield from walk(node.children)


def culprit(nodes: Sequence[Node]) -> Node | None:
    """The first step that failed, if any did."""
    return next((node for node in walk(nodes) if node.look is Look.FAILED and not node.children), None)


def count(nodes: Sequence[Node]) -> Mapping[Look, int]:
    """How many steps look how; branches are not counted."""
    return Counter(node.look for node in walk(nodes) if not node.kind)


def tell(job: JobTreeView, counts: Mapping[Look, int]) -> str:
    """Where the job is, in one sentence: what a screen reader says when it changes."""
    state = "being cancelled" if job.cancel_requested_at and job.ended_at is None else look_of(job.state).word
    others = (Look.RUNNING, Look.FAILED, Look.CANCELLED, Look.SKIPPED)
    parts = [f"{counts.get(Look.DONE, 0)} of {sum(counts.values())} steps done"]
    parts += [f"{counts[look]} {look.word}" for look in others if counts.get(look)]
    return f"Job {state}: {', '.join(parts)}."


def _node(step: JobStepView, role: str, below: Mapping[str, list[JobStepView]], *, over: bool) -> Node:
    look = look_of(step.state)
    if over and look is Look.WAITING:
        # What is around it has ended: its turn never comes.
        look = Look.SKIPPED
    steps = below.get(step.path, [])
    roles = _roles(len(steps)) if step.node == "try" else [""] * len(steps)
    over = over or step.ended_at is not None
    children = tuple(_node(child, part, below, over=over) for child, part in zip(steps, roles, strict=True))
    told_below = any(child.step.error == step.error for child in children)
    return Node(step, look, role, "" if told_below else step.error, children)


def _roles(parts: int) -> list[str]:
    """The record does not say which of the two a *try* with two parts has."""
    return ["body", "rescue or finally"] if parts == 2 else ["body", "rescue", "finally"][:parts] + [""] * (parts - 3)

"""Job trees: what to do, before anybody does it. Pure.

    Sequence   one after the other; stops at the first failure
    Parallel   side by side; a failure lets the others end, then the whole fails
    Try        body; when it fails, rescue (and the failure is healed); finally in any case
    Retry      body, again after a pause when it fails, so many times at most
    Timeout    body; what still runs after so many seconds is ended, and the whole fails
    Step       a leaf: an action, idempotent, that the application performs

A place in the tree is a path of numbers from the root, ("1", "2") being the second child of the first; sorted by these
numbers, a tree reads from top to bottom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Path: TypeAlias = tuple[int, ...]


class Action(Protocol):
    """What a step does. The library asks its title, and records its fields but those that `repr` leaves out."""

    @property
    def title(self) -> str:
        """One line for a human, secrets left out."""


@dataclass(frozen=True, slots=True)
class Step:
    """A leaf of the tree."""

    action: Action

    @property
    def title(self) -> str:
        """The action's own."""
        return self.action.title

    @property
    def children(self) -> tuple[Job, ...]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Sequence:
    """Children one after the other."""

    title: str
    children: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """Children side by side."""

    title: str
    children: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Try:
    """`body`; when it fails `rescue`, if any; `ensure` in any case (the *finally* of other languages)."""

    title: str
    body: Job
    rescue: Job | None = None
    ensure: Job | None = None

    @property
    def children(self) -> tuple[Job, ...]:
        """Body, rescue and finally, those that exist."""
        return tuple(job for job in (self.body, self.rescue, self.ensure) if job is not None)


@dataclass(frozen=True, slots=True)
class Retry:
    """`body` at most `times` times. `pause` is seconds before the second time; each further pause is twice as long."""

    title: str
    body: Job
    times: int = 3
    pause: float = 1.0

    @property
    def children(self) -> tuple[Job, ...]:
        """The body."""
        return (self.body,)


@dataclass(frozen=True, slots=True)
class Timeout:
    """`body`, for `seconds` at most."""

    title: str
    body: Job
    seconds: float

    @property
    def children(self) -> tuple[Job, ...]:
        """The body."""
        return (self.body,)


Job: TypeAlias = Step | Sequence | Parallel | Try | Retry | Timeout


def walk(job: Job, path: Path = (1,)) -> Iterator[tuple[Path, Job]]:
    """Every node with its place, from top to bottom."""
    yield path, job
    for number, child in enumerate(job.children, start=1):
        yield from walk(child, (*path, number))


def sequence(title: str, *children: Job | None) -> Sequence:
    """A sequence of the children that are there and not empty."""
    return Sequence(title, tuple(child for child in children if child is not None and not _is_empty(child)))


def parallel(title: str, *children: Job | None) -> Parallel:
    """A parallel of the children that are there and not empty."""
    return Parallel(title, tuple(child for child in children if child is not None and not _is_empty(child)))


def _is_empty(job: Job) -> bool:
    return not isinstance(job, Step) and not job.children

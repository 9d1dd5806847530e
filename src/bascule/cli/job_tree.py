"""A job as people see it: a headline, then the tree of its steps."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from rich.tree import Tree

from bascule.wire.admin_v1_work import JobStepView, JobTreeView

_STYLES = {"success": "green", "failure": "red", "running": "yellow", "cancelled": "magenta"}
_FOLDED = {"success", "waiting"}
_HEADLINES = 2


def tree(job: JobTreeView, *, lines: int | None = None) -> Tree:
    """`lines` is the room there is: a tree that is longer hides what is below parts that ended well or wait."""
    errors = _errors(job)
    fold = lines is not None and len(job.steps) + len(errors) + _HEADLINES > lines
    root = Tree(_headline(job, errors), guide_style="dim")
    # The tree's own root says what the headline says, unless it is all there is.
    branches = {"1": root} if len(job.steps) > 1 and job.steps[0].path == "1" else {}
    hidden: set[str] = set()
    for step in job.steps:
        above = _above(step.path)
        if above in hidden:
            hidden.add(step.path)
        elif step.path not in branches:
            below = _steps_below(job, step) if fold and step.state in _FOLDED else 0
            if below:
                hidden.add(step.path)
            line = _line(step, errors.get(step.path, ""), over=job.ended_at is not None, hidden=below)
            branches[step.path] = branches.get(above, root).add(line)
    return root


def _errors(job: JobTreeView) -> dict[str, str]:
    """What went wrong, by path: each error where it began, not again at all that failed because of it."""
    caused: set[tuple[str, str]] = set()
    for step in job.steps:
        above = _above(step.path) if step.error else ""
        while above:
            caused.add((above, step.error))
            above = _above(above)
    return {step.path: step.error for step in job.steps if step.error and (step.path, step.error) not in caused}


def _above(path: str) -> str:
    return path.rpartition(".")[0]


def _headline(job: JobTreeView, errors: Mapping[str, str]) -> Text:
    steps = [step for step in job.steps if step.node == "step"]
    done = sum(step.ended_at is not None for step in steps)
    line = Text.assemble((job.state, _style(job.state)), "  ", (job.event, "bold"))
    line.append(f"\n{job.kind} {job.entity_id}, {done} of {len(steps)} steps{_took(job)}", style="dim")
    return line if job.error in {"", *errors.values()} else line.append(f"\n{job.error}", style="red")


def _line(step: JobStepView, error: str, *, over: bool, hidden: int) -> Text:
    state = "not run" if over and step.state == "waiting" else step.state
    line = Text.assemble((f"{state:7}", _style(step.state)), "  ", step.title)
    remarks = f"{' (side by side)' if step.node == 'parallel' else ''}{_attempts(step)}{_took(step)}"
    line.append(f"{remarks}{f' ({hidden} steps)' if hidden else ''}", style="dim")
    return line.append(f"\n{error}", style="red") if error else line


def _attempts(step: JobStepView) -> str:
    """How often a `Retry` tried, when the first time did not do."""
    answer = step.output if step.node == "retry" and isinstance(step.output, dict) else {}
    attempts = answer.get("attempts")
    return f" ({attempts} attempts)" if isinstance(attempts, int) and attempts > 1 else ""


def _steps_below(job: JobTreeView, step: JobStepView) -> int:
    return sum(one.path.startswith(f"{step.path}.") and one.node == "step" for one in job.steps)


def _took(timed: JobTreeView | JobStepView) -> str:
    if timed.started_at is None or timed.ended_at is None:
        return ""
    return f"  {(timed.ended_at - timed.started_at).total_seconds():.2f} s"


def _style(state: str) -> str:
    return _STYLES.get(state, "dim")

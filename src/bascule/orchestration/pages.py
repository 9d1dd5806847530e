"""Pages that humans are to be told of, kept in the database until every receiver has them.

A page is written in the transaction in which a run ends, so that "once" holds across processes and restarts. Sending is
somebody else's (`pager`): at least once for each receiver, exactly once unless a process dies between sending and
writing down that it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from bascule.orchestration.claims import Entity
from bascule.orchestration.journal import NodeState, numbers
from bascule.orchestration.tables import OrchestrationTables


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a human is told. `tree` is the job that failed last, drawn as text; `sent_to` names who has it already.

    `application` says to the human who asks for help. Without
    `attempts` it is not about an entity's runs, and `error` is all there is to say.
    """

    id: int = 0
    entity: Entity
    recovered: bool
    attempts: int
    error: str
    tree: str
    created_at: float
    tries: int = 0
    sent_to: tuple[str, ...] = ()
    application: str = ""

    @property
    def title(self) -> str:
        """The same for a failure and its recovery: what receives both can tell that they belong together."""
        whose = f"{self.application}: " if self.application else ""
        return f"{whose}{self.entity.kind} {self.entity.id}"

    @property
    def body(self) -> str:
        """For humans, the most important first: some receivers cut it."""
        if not self.attempts:
            return self.error
        if self.recovered:
            return f"Recovered after {self.attempts} failures in a row. The last error was: {self.error}"
        sentence = f"Failed {self.attempts} times in a row, and is tried again. The last error: {self.error}"
        return f"{sentence}\n\n{self.tree}" if self.tree else sentence


class Pages:
    """All methods work inside the caller's transaction; `now` is seconds since the epoch."""

    def __init__(self, tables: OrchestrationTables, application: str = "") -> None:
        self._table, self._application = tables.pages, application

    def add(self, connection: Connection, page: Page) -> None:
        """Have it sent."""
        connection.execute(
            insert(self._table).values(
                kind=page.entity.kind,
                entity_id=page.entity.id,
                recovered=page.recovered,
                attempts=page.attempts,
                error=page.error,
                tree=page.tree,
                created_at=page.created_at,
                tries=0,
                due_at=page.created_at,
                sent_to=[],
            )
        )

    def take(self, connection: Connection, *, now: float, again_at: float) -> Page | None:
        """The oldest page to send now; nobody else takes it before `again_at`, when this sender has died.

        A page waits for earlier ones of its entity: nobody is to hear of a recovery before the failure.
        """
        table, earlier = self._table, self._table.alias("earlier")
        same = and_(earlier.c.kind == table.c.kind, earlier.c.entity_id == table.c.entity_id, earlier.c.id < table.c.id)
        row = connection.execute(
            select(table)
            .where(table.c.due_at <= now, ~select(earlier.c.id).where(same).exists())
            .order_by(table.c.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=table)
        ).one_or_none()
        if row is None:
            return None
        connection.execute(update(table).where(table.c.id == row.id).values(due_at=again_at, tries=row.tries + 1))
        return _page(row, self._application)

    def sent(self, connection: Connection, page: Page) -> None:
        """Every receiver has it."""
        connection.execute(delete(self._table).where(self._table.c.id == page.id))

    def put_off(self, connection: Connection, page: Page, *, sent_to: Iterable[str], until: float) -> None:
        """Only these have it: send it to the others at `until`."""
        values = {"sent_to": sorted(sent_to), "due_at": until}
        connection.execute(update(self._table).where(self._table.c.id == page.id).values(values))


def _page(row: Row[Any], application: str) -> Page:
    return Page(
        id=row.id,
        entity=Entity(row.kind, row.entity_id),
        recovered=row.recovered,
        attempts=row.attempts,
        error=row.error,
        tree=row.tree,
        created_at=row.created_at,
        tries=row.tries + 1,
        sent_to=tuple(row.sent_to),
        application=application,
    )


def drawn(steps: Iterable[Row[Any]]) -> str:
    """A job's tree as text, a line a node: its state, indented by its depth, its title and its error."""
    rows = list(steps)
    over = bool(rows) and rows[0].ended_at is not None
    return "\n".join(_line(row, over=over) for row in rows)


def _line(step: Row[Any], *, over: bool) -> str:
    state = "not run" if over and step.state == NodeState.WAITING else step.state
    error = f": {step.error}" if step.error else ""
    return f"{state:9} {'  ' * (len(numbers(step.path)) - 1)}{step.title}{_times(step)}{error}"


def _times(step: Row[Any]) -> str:
    """How often a `Retry` tried, when the first time did not do."""
    attempts = step.output.get("attempts", 1) if step.node == "retry" and step.output else 1
    return f" ({attempts} attempts)" if attempts > 1 else ""

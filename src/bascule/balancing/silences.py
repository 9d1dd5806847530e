"""Keep in the store since when LB nodes are silent, and which of them others shall replace.

In the store, because a grace time must not begin anew with every orchestrator. Several orchestrators may watch: whoever
hears a node ends its silence for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import Connection

from bascule.balancing.patience import OVER, Patience, held_sentence
from bascule.clock import Clock
from bascule.model.nodes import LBNode, Silence
from bascule.orchestration.claims import Entity
from bascule.orchestration.pages import Page, Pages
from bascule.store import lb_nodes
from bascule.store.database import Database

log = structlog.stdlib.get_logger(__name__)
ENTITY = Entity("lb-nodes", "silent")  # of the pages: one alarm, however many nodes
Verdicts = Mapping[UUID, tuple[float, Silence]]


class Silences:
    """One per watch. `pages` is None where nobody is to be paged."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        patience: Patience,
        pages: Pages | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._database, self._clock, self._patience, self._pages = database, clock, patience, pages
        self._gauge = Gauge(
            "bascule_lb_nodes_silent",
            "LB nodes that do not answer, by what becomes of them: held are those that too many others keep from"
            " being replaced.",
            ["silence"],
            registry=registry or CollectorRegistry(),
        )

    def note(self, nodes: Sequence[LBNode], answering: Set[UUID]) -> str:
        """These answered just now, the others did not. Returns a sentence when a node is to be replaced, else ""."""
        now = self._clock.now()
        with self._database.read() as connection:
            before = lb_nodes.silences(connection)
        after = self._judged(nodes, answering, before, now)
        if after != before:
            with self._database.write() as connection:
                before = lb_nodes.silences(connection)
                after = self._judged(nodes, answering, before, now)
                self._write(connection, before, after)
                self._tell(connection, nodes, before, after, now)
        self._show(after)
        names = [node.name for node in nodes if _newly(Silence.REPLACED, node.id, before, after)]
        return f"{', '.join(names)} counts as dead" if names else ""

    def _judged(self, nodes: Sequence[LBNode], answering: Set[UUID], before: Verdicts, now: float) -> Verdicts:
        known = {node_id: since for node_id, (since, _) in before.items()}
        return self._patience.verdicts(nodes, self._patience.since(nodes, answering, known, now), now)

    @staticmethod
    def _write(connection: Connection, before: Verdicts, after: Verdicts) -> None:
        for node_id in sorted(before.keys() | after.keys()):
            if before.get(node_id) != after.get(node_id):
                lb_nodes.set_silence(connection, node_id, *after.get(node_id, (None, Silence.ANSWERS)))

    def _tell(
        self, connection: Connection, nodes: Sequence[LBNode], before: Verdicts, after: Verdicts, now: float
    ) -> None:
        for node in nodes:
            if _newly(Silence.REPLACED, node.id, before, after):
                log.warning("LB node counts as dead", node=node.name, silent_for=round(now - after[node.id][0], 1))
            elif _verdict(before, node.id) is Silence.REPLACED and node.id not in after:
                log.info("LB node that counted as dead answers", node=node.name)
        held_before, held = (any(each is Silence.HELD for _, each in found.values()) for found in (before, after))
        if held and not held_before:
            sentence = held_sentence(nodes, after, self._patience.most(nodes))
            log.error("no LB node is replaced", reason=sentence)
            self._page(connection, sentence, over=False, now=now)
        elif held_before and not held:
            log.info("LB nodes are replaced again")
            self._page(connection, OVER, over=True, now=now)

    def _page(self, connection: Connection, words: str, *, over: bool, now: float) -> None:
        if self._pages is not None:
            page = Page(entity=ENTITY, recovered=over, attempts=0, error=words, tree="", created_at=now)
            self._pages.add(connection, page)

    def _show(self, after: Verdicts) -> None:
        for silence in set(Silence) - {Silence.ANSWERS}:
            self._gauge.labels(silence.value).set(sum(each is silence for _, each in after.values()))


def _verdict(verdicts: Verdicts, node_id: UUID) -> Silence:
    return verdicts[node_id][1] if node_id in verdicts else Silence.ANSWERS


def _newly(silence: Silence, node_id: UUID, before: Verdicts, after: Verdicts) -> bool:
    return _verdict(after, node_id) is silence and _verdict(before, node_id) is not silence

"""Put into quarantine and release, in the transaction in which an audit writes down what it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import structlog
from sqlalchemy import Connection

from bascule.balancing.audit import Finding
from bascule.balancing.quarantine import OVER, Place, Rule, entering, page_text
from bascule.orchestration.claims import Entity
from bascule.orchestration.pages import Page, Pages
from bascule.store import drift_findings, drift_quarantines

log = structlog.stdlib.get_logger(__name__)
ENTITY = Entity("drift", "quarantine")  # of the pages: one alarm, however many places


class Quarantining:
    """`pages` is None where nobody is to be paged."""

    def __init__(self, rule: Rule, pages: Pages | None) -> None:
        self._rule, self._pages = rule, pages

    def update(self, connection: Connection, new: Collection[Finding], *, now: float) -> frozenset[Place]:
        """What is quarantined from now on; the findings of `now` are written already. Raises Taken."""
        self._release_quiet(connection, now)
        over = drift_quarantines.close_released(connection)
        staying = {row.place for row in drift_quarantines.lasting(connection)}
        entered = entering(new, staying, self._began(connection, new, now), self._rule)
        rows = [
            drift_quarantines.new(finding.node_id, finding.node, finding.load_balancer_id, reason, now=now)
            for finding, reason in entered.values()
        ]
        drift_quarantines.add(connection, rows)
        for row in rows:
            log.error("quarantined", node=row.node, load_balancer=str(row.load_balancer_id), reason=row.reason)
        if rows:
            self._page(connection, page_text(entered.values()), over=False, now=now)
        elif over and not staying:
            self._page(connection, OVER, over=True, now=now)
        return frozenset(staying | entered.keys())

    def _release_quiet(self, connection: Connection, now: float) -> None:
        before = now - self._rule.window
        old = [row for row in drift_quarantines.lasting(connection) if row.since < before]
        troubled = drift_findings.lasting_since(connection, before) if old else set()
        for row in old:
            if row.place not in troubled:
                drift_quarantines.release(connection, row.id, now=now)
                log.info("released from quarantine", node=row.node, load_balancer=str(row.load_balancer_id))

    def _began(self, connection: Connection, new: Collection[Finding], now: float) -> Counter[Place]:
        """In how many audits findings of each place began within the window, and since it was last released."""
        if not new:
            return Counter()
        since = now - self._rule.window
        released = drift_quarantines.released_since(connection, since)
        found = drift_findings.began_since(connection, since)
        return Counter(place for place, at in set(found) if at > released.get(place, since))

    def _page(self, connection: Connection, words: str, *, over: bool, now: float) -> None:
        if self._pages is not None:
            page = Page(entity=ENTITY, recovered=over, attempts=0, error=words, tree="", created_at=now)
            self._pages.add(connection, page)

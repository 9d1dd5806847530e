"""Drift that reconciling does not mend, over a real database and reports of agents in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from bascule.balancing.quarantine import OVER, Rule
from bascule.balancing.quarantining import ENTITY, Quarantining
from bascule.orchestration.pages import Pages
from bascule.orchestration.queue import Priority
from bascule.store import changes, drift_quarantines, load_balancers
from bascule.store.drift_quarantines import QuarantineRow
from bascule.store.tables import orchestration
from tests.integration.test_drift import Audited, audited
from tests.integration.test_orchestrator import HOSTS, control

__all__ = ["audited", "control"]  # pytest finds the fixtures here
RULE = Rule(reconciliations=2, window=600.0)


class Round:
    """What one round of meddling led to."""

    def __init__(self, audited: Audited) -> None:
        self.asked = [reason for _, reasons in audited.waiting() for reason in reasons]
        self.quarantined = quarantined(audited)


def quarantined(audited: Audited) -> list[QuarantineRow]:
    """What is quarantined now."""
    with audited.control.database.read() as connection:
        return drift_quarantines.lasting(connection)


def pages(audited: Audited) -> list[tuple[bool, str]]:
    """What humans are to be told: whether it is over, and the words."""
    table = orchestration.pages
    with audited.control.database.read() as connection:
        rows = connection.execute(select(table).order_by(table.c.id)).all()
    assert {(row.kind, row.entity_id) for row in rows} <= {(ENTITY.kind, ENTITY.id)}
    return [(row.recovered, row.error) for row in rows]


async def meddle(audited: Audited) -> Round:
    """Somebody takes a hypervisor's rules; an audit sees it, a reconciliation mends it, an audit sees that too."""
    audited.change_rules(0, rules=())
    await audited.audit()
    seen = Round(audited)
    await audited.control.settle()
    audited.control.clock.ahead += 1.0
    with audited.control.database.write() as connection:
        # The periodic reconciliation, which a quarantine does not stop.
        now, mine = audited.control.clock.now(), [audited.load_balancer_id]
        changes.request(connection, mine, priority=Priority.PERIODIC, reason="periodic", now=now)
    await audited.control.settle()
    audited.control.clock.ahead += 1.0
    assert await audited.audit() == []
    return seen


@pytest.fixture
def watched(audited: Audited) -> Audited:
    """An auditor that quarantines what comes back after two reconciliations, and pages."""
    audited.auditor._quarantining = Quarantining(RULE, Pages(orchestration))
    return audited


async def test_what_comes_back_is_quarantined_and_paged_once(watched: Audited) -> None:
    """Two reconciliations are asked for; the third time it is quarantined, humans are told, and no more is asked."""
    for _ in range(2):
        seen = await meddle(watched)
        assert (seen.asked, seen.quarantined) == (["drift: missing on hv1"], [])
    for _ in range(2):
        seen = await meddle(watched)
        assert seen.asked == []
        (row,) = seen.quarantined
        assert (row.node, row.load_balancer_id) == ("hv1", watched.load_balancer_id)
        assert row.reason.startswith("missing came back 2 times within 10 minutes: tcp/80 to 10.0.0.1 port 8080")
    ((over, words),) = pages(watched)
    assert not over
    assert f"hv1, load balancer {watched.load_balancer_id}: missing came back" in words
    assert watched.registry.get_sample_value("bascule_drift_quarantined") == 1


async def test_a_quarantine_ends_after_a_while_without_drift(watched: Audited) -> None:
    """Not before; then humans hear that it is over, and the count begins anew."""
    for _ in range(3):
        await meddle(watched)
    watched.control.clock.ahead += RULE.window - 30.0
    await watched.audit()
    assert len(quarantined(watched)) == 1
    watched.control.clock.ahead += 60.0
    await watched.audit()
    assert quarantined(watched) == []
    assert [over for over, _ in pages(watched)] == [False, True]
    assert pages(watched)[-1] == (True, OVER)
    assert (await meddle(watched)).asked == ["drift: missing on hv1"]


async def test_drift_that_lasts_keeps_it_quarantined(watched: Audited) -> None:
    """Nobody reconciles meanwhile, and time alone releases nothing."""
    for _ in range(3):
        await meddle(watched)
    watched.change_rules(0, rules=())
    await watched.audit()
    watched.control.clock.ahead += 2 * RULE.window
    await watched.audit()
    assert len(quarantined(watched)) == 1


async def test_an_operator_releases(watched: Audited) -> None:
    """What happened before counts no more, humans hear that it is over, and it can be quarantined again."""
    for _ in range(3):
        await meddle(watched)
    (row,) = quarantined(watched)
    for _ in range(2):
        with watched.control.database.write() as connection:
            released = drift_quarantines.release(connection, row.id, now=watched.control.clock.now())
    assert released.released_at is not None
    for _ in range(2):
        seen = await meddle(watched)
        assert (seen.asked, seen.quarantined) == (["drift: missing on hv1"], [])
    assert [over for over, _ in pages(watched)] == [False, True]
    assert len((await meddle(watched)).quarantined) == 1
    assert [over for over, _ in pages(watched)] == [False, True, False]


async def test_what_is_foreign_is_quarantined_at_once_and_paged_together(watched: Audited) -> None:
    """Whatever the number of nodes that carry it, one page names some of them."""
    with watched.control.database.write() as connection:
        load_balancers.delete(connection, watched.load_balancer_id)
    for _ in range(2):
        await watched.audit()
        watched.control.clock.ahead += 1.0
    assert {row.node for row in quarantined(watched)} == {"lb1", "lb2", "hv1", "hv2"}
    ((_, words),) = pages(watched)
    assert words.count("this store never knew it") == 4


async def test_other_nodes_and_other_times_do_not_count(watched: Audited) -> None:
    """Each node is judged by itself, and what happened longer ago than the window is forgotten."""
    await meddle(watched)
    watched.control.clock.ahead += RULE.window
    await meddle(watched)
    watched.change_rules(1, rules=())
    await watched.audit()
    await watched.control.settle()
    watched.control.clock.ahead += 1.0
    carried = watched.control.agents.node(HOSTS[0].id).forwarding[watched.load_balancer_id]
    watched.change_rules(0, rules=(replace(carried.rules[0], target_port=1),))
    await watched.audit()
    assert quarantined(watched) == []

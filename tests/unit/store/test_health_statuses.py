"""Verdicts are replaced node by node."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Connection, select

from bascule.model.health_checks import Health
from bascule.model.reports import BackendHealth
from bascule.store import health_statuses, tables
from bascule.store.database import Database, open_database
from bascule.store.health_statuses import FRESH_FOR, HealthStatus


def seen(connection: Connection) -> set[tuple[str, str, float]]:
    """Every row: node, verdict, time."""
    table = tables.health_statuses
    return {(row.lb_node_id, row.health, row.observed_at) for row in connection.execute(select(table))}


def test_a_report_replaces_the_nodes_last_one_and_no_other(database_url: str) -> None:
    """What a node no longer reports is gone, what it repeats is fresh again, and other nodes keep theirs."""
    engine = open_database(database_url)
    one, other, service = uuid4(), uuid4(), uuid4()
    verdicts = [BackendHealth(service_id=service, instance_id=uuid4(), health=health) for health in Health]
    with Database(engine).write() as connection:
        health_statuses.replace_node(connection, other, verdicts[:1], 1.0)
        health_statuses.replace_node(connection, one, verdicts[1:], 1.0)
        health_statuses.replace_node(connection, one, verdicts[1:], 2.0)
        repeated = {(str(one), "success", 2.0), (str(one), "failure", 2.0), (str(other), "unknown", 1.0)}
        assert seen(connection) == repeated
        health_statuses.replace_node(connection, one, verdicts[1:2], 3.0)
        assert seen(connection) == {(str(one), "success", 3.0), (str(other), "unknown", 1.0)}
        health_statuses.replace_node(connection, one, [], 4.0)
        assert seen(connection) == {(str(other), "unknown", 1.0)}
    engine.dispose()


def test_one_node_that_says_failure_is_enough() -> None:
    """Verdicts of several nodes are combined whatever their order; stale and unknown ones say nothing."""
    service, instance = uuid4(), uuid4()

    def status(health: Health, observed_at: float) -> HealthStatus:
        verdict = BackendHealth(service_id=service, instance_id=instance, health=health)
        return HealthStatus(lb_node_id=uuid4(), verdict=verdict, observed_at=observed_at)

    now = 100.0
    good, bad, unknown = (status(health, now) for health in (Health.SUCCESS, Health.FAILURE, Health.UNKNOWN))
    stale = status(Health.FAILURE, now - FRESH_FOR - 1)
    place = (service, instance)
    assert (
        health_statuses.combine([good, bad], now)
        == health_statuses.combine([bad, good], now)
        == {place: Health.FAILURE}
    )
    assert health_statuses.combine([good, unknown, stale], now) == {place: Health.SUCCESS}
    assert health_statuses.combine([unknown, stale], now) == {}

"""Ends what drains: when LB nodes have measured that nothing is left of it, or when its deadline has passed.

Nothing waits for that: whoever watches looks every time, so that an orchestrator may die at any moment. Deadlines are
times of this machine's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import structlog
from sqlalchemy import Connection

from bascule.balancing.quiet import Quiet
from bascule.balancing.remaining import States, Use, is_empty, remaining
from bascule.balancing.reports import Seen
from bascule.clock import Clock
from bascule.model.errors import NotFound
from bascule.model.instance_pools import Instance
from bascule.model.nodes import LBNode
from bascule.model.reports import LBNodeReport, states_of
from bascule.orchestration.queue import Priority
from bascule.store import changes, draining, instance_pools, instances, lb_nodes, placements, services
from bascule.store.database import Database
from bascule.store.times import from_seconds

log = structlog.stdlib.get_logger(__name__)
Answers = Mapping[LBNode, Seen[LBNodeReport]]


class Drains:
    """One per watch."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._quiet = Quiet()

    def look(self, seen: Answers) -> None:
        """End what is over by these answers."""
        with self._database.read() as connection:
            found = instances.draining(connection)
            uses = {pool_id: uses_of(connection, pool_id) for pool_id in {pool_id for pool_id, _ in found}}
        if found:
            states = {node.id: states_of(each.report) for node, each in seen.items() if each.report is not None}
            self._end_instances([(pool, each) for pool, each in found if self._is_over(each, uses[pool], states)])
        self._end_nodes(seen)

    def _is_over(self, instance: Instance, uses: Sequence[Use], states: States) -> bool:
        if instance.drain_until is None or instance.stopped or from_seconds(self._clock.now()) >= instance.drain_until:
            return True
        return is_empty(tuple(remaining(instance, uses, states)))

    def _end_instances(self, over: Sequence[tuple[UUID, Instance]]) -> None:
        for pool_id in sorted({pool_id for pool_id, _ in over}):
            with self._database.write() as connection, suppress(NotFound):
                read = {each.id: each.drain_until for pool, each in over if pool == pool_id}
                pool = instance_pools.lock_for_change(connection, pool_id)
                # Whoever was asked to drain anew, or not to drain any more, since it was read goes on.
                ended = [each for each in pool.members if each.id in read and each.drain_until == read[each.id]]
                for each in ended:
                    draining.write(connection, replace(each, drain_until=None))
                if ended:
                    names = ", ".join(each.name for each in ended)
                    log.info("drained", pool=pool.name, instances=names)
                    changes.from_outside(connection, pool_id, reason=f"{names} drained", now=self._clock.now())

    def _end_nodes(self, seen: Answers) -> None:
        now = self._clock.now()
        leaving = [node for node in seen if node.drain_until is not None]
        self._quiet.forget_others({node.id for node in leaving})
        for node in leaving:
            assert node.drain_until is not None
            with self._database.read() as connection:
                staying, going = placements.at_node(connection, node.id)
            quiet = self._quiet.is_quiet(node.id, seen[node].report, staying, going, now)
            if quiet or from_seconds(now) >= node.drain_until:
                self._end_node(node, staying | going)

    def _end_node(self, node: LBNode, carried: frozenset[UUID]) -> None:
        with self._database.write() as connection, suppress(NotFound):
            present = lb_nodes.lock_for_change(connection, node.id)
            if present.drain_until == node.drain_until:
                log.info("drained", lb_node=node.name)
                lb_nodes.update(connection, replace(present, drain_until=None))
                reason, now = f"{node.name} drained", self._clock.now()
                changes.request(connection, carried, priority=Priority.EVENT, reason=reason, now=now)


def uses_of(connection: Connection, pool_id: UUID) -> tuple[Use, ...]:
    """The services that send to a pool's members, and who may carry them."""
    return tuple(_uses(connection, pool_id))


def _uses(connection: Connection, pool_id: UUID) -> Iterator[Use]:
    found = services.using_pool(connection, pool_id)
    placed, leaving = placements.of_many(connection, sorted({load_balancer_id for load_balancer_id, _ in found}))
    for load_balancer_id, service in found:
        nobody: frozenset[UUID] = frozenset()
        holders = placed.get(load_balancer_id, nobody) | leaving.get(load_balancer_id, nobody)
        yield Use(load_balancer_id=load_balancer_id, service=service, holders=holders)

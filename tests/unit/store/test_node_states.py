"""What LB nodes had of load balancers, as it is kept."""

from __future__ import annotations

from uuid import UUID

from bascule.store import lb_nodes, node_states
from bascule.store.database import Database, open_database
from bascule.store.node_states import written
from tests.unit.agents.builders import balancer_state
from tests.unit.balancing.world import lb_node

FIRST, SECOND = UUID(int=1), UUID(int=2)


def test_only_what_differs_is_written_and_all_of_it_is_fresh(database_url: str) -> None:
    """What changed, came or went is so afterwards; what stayed was seen now; what nobody wrote here is gone."""
    engine = open_database(database_url)
    with Database(engine).write() as connection:
        node = lb_node(1)
        lb_nodes.insert(connection, node)

        def seen(load_balancer: UUID) -> tuple[int, float] | None:
            kept = node_states.of_load_balancer(connection, load_balancer).get(node.id)
            return None if kept is None else (kept.state.balancer.configuration.version.generation, kept.observed_at)

        both = written({FIRST: balancer_state(1), SECOND: balancer_state(1)})
        node_states.replace_node(connection, node.id, both, None, 1.0)
        changed = written({FIRST: balancer_state(1), SECOND: balancer_state(2)})
        node_states.replace_node(connection, node.id, changed, both, 2.0)
        assert (seen(FIRST), seen(SECOND)) == ((1, 2.0), (2, 2.0))
        node_states.replace_node(connection, node.id, written({FIRST: balancer_state(1)}), changed, 3.0)
        assert (seen(FIRST), seen(SECOND)) == ((1, 3.0), None)
        node_states.replace_node(connection, node.id, written({SECOND: balancer_state(5)}), None, 4.0)
        assert (seen(FIRST), seen(SECOND)) == (None, (5, 4.0))
        node_states.replace_node(connection, node.id, both, {}, 5.0)
        assert (seen(FIRST), seen(SECOND)) == ((1, 5.0), (1, 5.0)), "another orchestrator wrote what we do not know of"
    engine.dispose()

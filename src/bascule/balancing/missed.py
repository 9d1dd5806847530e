"""Which runs found which machines silent, in one process: the watch asks for them again as soon as it hears those.

In memory is enough: the watch of a new process asks for everything when it hears an agent for the first time.
"""

from __future__ import annotations

from uuid import UUID


class Missed:
    """Load balancers by the machines that did not answer when they were reconciled last."""

    def __init__(self) -> None:
        self._by_node: dict[UUID, set[UUID]] = {}

    def add(self, node_id: UUID, load_balancer_id: UUID) -> None:
        """A run went on without this machine."""
        self._by_node.setdefault(node_id, set()).add(load_balancer_id)

    def by(self, node_id: UUID) -> frozenset[UUID]:
        """What went on without this machine: to be looked at again as soon as it answers."""
        return frozenset(self._by_node.get(node_id, ()))

    def asked(self, node_id: UUID) -> None:
        """That has been asked for."""
        self._by_node.pop(node_id, None)

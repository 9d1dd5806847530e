"""Which silent LB nodes count as dead, so that others take over what they carry. Pure.

When more of the fleet is silent than may be replaced, nothing is: it is rather the control plane that is cut off, and
the rest of the fleet could not carry everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from uuid import UUID

from bascule.model.nodes import LBNode, Silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """`after` is seconds of silence, `share` the part of all LB nodes that may count as dead at once."""

    after: float = 300.0
    share: float = 0.25

    def most(self, nodes: Sequence[LBNode]) -> int:
        """How many may count as dead at once: one at least."""
        return max(1, math.floor(self.share * len(nodes) + 1e-9))

    def verdicts(
        self, nodes: Sequence[LBNode], silent_since: Mapping[UUID, float], now: float
    ) -> dict[UUID, tuple[float, Silence]]:
        """Of each silent node, since when it is and what becomes of it; the others answer.

        All that are silent count against the share, those of a moment ago too: a network that fails takes them one
        after the other. A disabled node is left already and does not count.
        """
        fleet = {node.id for node in nodes if node.enabled}
        too_many = len(silent_since.keys() & fleet) > self.most(nodes)
        found = {}
        for node in nodes:
            if node.id in silent_since:
                since = min(silent_since[node.id], now)  # a clock that was set back
                due = node.id in fleet and now - since >= self.after
                verdict = (Silence.HELD if too_many else Silence.REPLACED) if due else Silence.WAITING
                found[node.id] = since, verdict
        return found

    def since(
        self, nodes: Sequence[LBNode], answering: Set[UUID], before: Mapping[UUID, float], now: float
    ) -> dict[UUID, float]:
        """Since when those are silent that do not answer now. A silence goes on whoever heard of it first."""
        return {node.id: before.get(node.id, now) for node in nodes if node.id not in answering}


def held_sentence(nodes: Sequence[LBNode], verdicts: Mapping[UUID, tuple[float, Silence]], most: int) -> str:
    """What a human is told when the breaker is open; empty while it is not."""
    if not any(verdict is Silence.HELD for _, verdict in verdicts.values()):
        return ""
    silent = [node.name for node in nodes if node.enabled and node.id in verdicts]
    return (
        f"{', '.join(silent)} do not answer: {len(silent)} LB nodes of {len(nodes)}, and at most"
        f" {most} may be replaced at once (BASCULE_REPLACE_SHARE). None is replaced. See that the orchestrator reaches"
        " them; disable those that are gone for good (bascule node disable NODE), then the others are replaced."
    )


OVER = "So few LB nodes are silent that they are replaced again."

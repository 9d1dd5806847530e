"""When drift stops asking for reconciliations of a load balancer on a node, and what humans are told. Pure.

A quarantine is for what reconciling does not mend: a difference that comes back again and again, because somebody keeps
changing the node or the node keeps losing what it is told; and a load balancer that this store never knew. It ends when
an operator says so, or by itself after a while without any difference there. Periodic reconciliations go on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from bascule.balancing.audit import DriftKind, Finding

Place = tuple[UUID, UUID]
"""A node and a load balancer on it."""
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Quarantined is what comes back after `reconciliations` of them within `window` seconds.

    It is released after as long without a difference.
    """

    reconciliations: int = 3
    window: float = 3600.0


def place_of(finding: Finding) -> Place:
    """Where it was found."""
    return finding.node_id, finding.load_balancer_id


def entering(
    new: Collection[Finding], present: Collection[Place], began: Mapping[Place, int], rule: Rule
) -> dict[Place, tuple[Finding, str]]:
    """Whom to quarantine because of new findings, each with its reason.

    `present` are those that are quarantined. `began` says in how many audits findings began within the window, this
    one included.
    """
    entered: dict[Place, tuple[Finding, str]] = {}
    for finding in new:
        place = place_of(finding)
        times = began.get(place, 1)
        if place in present or place in entered:
            continue
        if finding.kind is DriftKind.FOREIGN:
            entered[place] = finding, "this store never knew it"
        elif times > rule.reconciliations:
            reason = f"{finding.kind} came back {times - 1} times within {rule.window / 60:g} minutes: {finding.words}"
            entered[place] = finding, reason
    return entered


def page_text(entered: Collection[tuple[Finding, str]]) -> str:
    """What humans are told of all that one audit put into quarantine."""
    lines = [
        f"{finding.node}, load balancer {finding.load_balancer_id}: {reason}"
        for finding, reason in list(entered)[:_NAMED_AT_MOST]
    ]
    more = [f"and {len(entered) - _NAMED_AT_MOST} more"] if len(entered) > _NAMED_AT_MOST else []
    todo = "Find out who changes these nodes; then `bascule drift quarantines` and `bascule drift release`."
    return "\n".join([f"Drift that reconciling does not mend. {todo}", *lines, *more])


OVER = "Nothing is quarantined because of drift any more."

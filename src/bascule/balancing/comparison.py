"""Which of many load balancers need something done, as one decision after the other tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from bascule.balancing import expectation
from bascule.balancing.decide import decide
from bascule.balancing.expectation import Expectation, Fleet
from bascule.model.errors import BasculeError


def differing(found: Expectation, fleet: Fleet, load_balancer_ids: Sequence[UUID]) -> Iterator[tuple[UUID, str]]:
    """Those that need something done, and what."""
    for load_balancer_id in load_balancer_ids:
        if load_balancer_id not in found.load_balancers:
            continue
        # Epochs and loads do not matter: whatever is done is decided anew, by a worker with a lease.
        inventory = expectation.inventory(found, fleet, load_balancer_id, epoch=0, loads={})
        try:
            decision = decide(inventory)
        except BasculeError as error:
            yield load_balancer_id, error.sentence
            continue
        if decision.event is not None:
            yield load_balancer_id, decision.sentence

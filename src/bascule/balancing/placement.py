"""Which LB nodes carry a load balancer. Pure, and stable: what is placed stays where it is while it can."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from uuid import UUID

from bascule.model.data_planes import DataPlaneName
from bascule.model.nodes import LBNode
from bascule.model.placements import NODES_PER_LOAD_BALANCER


def place(
    load_balancer_id: UUID,
    *,
    candidates: tuple[LBNode, ...],
    reachable: Set[UUID],
    current: Set[UUID],
    loads: Mapping[UUID, int],
    carriers: Set[DataPlaneName] = frozenset(DataPlaneName),
    wanted: int = NODES_PER_LOAD_BALANCER,
) -> frozenset[UUID]:
    """Choose up to `wanted` enabled nodes that run one of the `carriers`.

    Keeps the current ones that are still enabled, reachable or not: a silent agent says nothing about its packets.
    One that is silent and runs none of the carriers is kept beside the chosen ones until it can be told to let go.
    Adds reachable nodes, first of failure domains not used yet, then the least loaded, ties broken by rendezvous
    hashing (Thaler and Ravishankar, 1998) so that load balancers spread.
    """
    enabled = {node.id: node for node in candidates if node.enabled and node.data_plane in carriers}
    misfits = {node.id for node in candidates if node.enabled} - enabled.keys()
    chosen = sorted(current & enabled.keys())
    while len(chosen) < wanted:
        domains = {enabled[node_id].failure_domain for node_id in chosen} - {""}
        free = [node for node in enabled.values() if node.id in reachable and node.id not in chosen]
        if not free:
            break
        best = min(
            free,
            key=lambda node: (
                node.failure_domain in domains,
                loads.get(node.id, 0),
                _rank(load_balancer_id, node.id),
            ),
        )
        chosen.append(best.id)
    return frozenset(chosen[:wanted]) | ((misfits & current) - reachable)


def _rank(load_balancer_id: UUID, node_id: UUID) -> bytes:
    return hashlib.blake2b(load_balancer_id.bytes + node_id.bytes, digest_size=8).digest()

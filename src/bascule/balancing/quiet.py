"""Whether an LB node that drains gets no packets any more. Pure: the times come from outside.

A node that withdrew its addresses gets what routers had on its way, and nothing after that. What still comes after
some seconds comes by a route that nobody withdrew.
"""

from __future__ import annotations

from collections.abc import Set
from uuid import UUID

from bascule.model.reports import LBNodeReport

# Seconds. Counters in reports are up to three seconds old (`agent_client`): several of them must be the same.
QUIET_FOR = 8.0
# A packet a second is somebody's probe, and nobody's connection.
_PACKETS = 8


class Quiet:
    """One per watch. Remembers what each node had counted, and since when it counted no more than a few."""

    def __init__(self) -> None:
        self._since: dict[UUID, tuple[float, int]] = {}

    def forget_others(self, node_ids: Set[UUID]) -> None:
        """These alone drain now."""
        self._since = {node_id: each for node_id, each in self._since.items() if node_id in node_ids}

    def is_quiet(
        self, node_id: UUID, report: LBNodeReport | None, staying: Set[UUID], going: Set[UUID], now: float
    ) -> bool:
        """Whether it withdrew everything and has got nothing since for a while; `now` is in seconds.

        `staying` are the load balancers that it shall carry for want of another node, `going` those that it leaves.
        """
        carried = () if report is None else report.load_balancers
        mine = [each for each in carried if each.configuration.load_balancer_id in staying | going]
        announced = any(each.announced or each.configuration.announced for each in mine)
        if report is None or staying or announced:
            self._since.pop(node_id, None)
            return False
        if not mine:
            return True
        addresses = {each.configuration.address for each in mine}
        packets = sum(each.traffic.packets for each in report.data_plane.services if each.key.address in addresses)
        since, before = self._since.setdefault(node_id, (now, packets))
        if not 0 <= packets - before <= _PACKETS:
            self._since[node_id] = now, packets
            return False
        return now - since >= QUIET_FOR

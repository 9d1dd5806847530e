"""Where faults happen: a lab with one load balancer over three instances, and how it is made whole again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from time import monotonic

from bascule.client.clients import AdminClient
from bascule.lab import faults, network, processes, traffic
from bascule.lab.control_plane import ControlPlane
from bascule.lab.demo import WEB, WHO
from bascule.lab.readiness import wait_for_bgp, wait_for_instances, wait_for_programs
from bascule.lab.roster import roster
from bascule.lab.router import drawn_by, preferred
from bascule.lab.shape import AnnouncerName
from bascule.lab.state import Lab
from bascule.lab.topology import UPLINK, Role
from bascule.lab.traffic import Target
from bascule.lab.waiting import wait_until
from bascule.model.addresses import IPAddress
from bascule.model.errors import Conflict
from bascule.wire.admin_v1 import LBNodeView

SERVING = 3
# Seconds; an emulated kernel takes its time.
_PATIENCE = 120.0


@dataclass(slots=True, kw_only=True)
class Scene:
    """A lab, the load balancer that is measured, and what was done to them when.

    `hit` is the LB node that deeds are done to: one that carries the VIP. `database_away` is for how many seconds the
    database stays away when it goes.
    """

    lab: Lab
    api: ControlPlane
    admin: AdminClient
    vip: IPAddress
    hit: str
    database_away: float = 60.0
    marks: list[tuple[float, str]] = field(default_factory=list)
    clock: Callable[[], float] = monotonic

    def mark(self, words: str) -> None:
        """Write down what was just done."""
        self.marks.append((self.clock(), words))

    def instances(self, count: int = SERVING) -> tuple[str, ...]:
        """The names of the instances that serve when the pool has that size."""
        return tuple(host.name for host in self.lab.topology.of_role(Role.INSTANCE)[:count])

    def lb_nodes(self) -> tuple[str, ...]:
        """The names of the LB nodes."""
        return tuple(host.name for host in self.lab.topology.of_role(Role.LB_NODE))

    def carried_by(self) -> tuple[str, ...]:
        """The LB nodes that the router sends the VIP's packets to."""
        return drawn_by(self.lab, self.vip)

    def others(self) -> tuple[str, ...]:
        """The LB nodes that nothing is done to."""
        return tuple(node for node in self.lb_nodes() if node != self.hit)

    def wait_until_carried_by_all(self) -> None:
        """Until every LB node carries the VIP that could: with VRRP the one that is preferred to the others."""
        by_vrrp = self.lab.shape.announcer is AnnouncerName.VRRP
        self.wait_until_carried_by(*((self.hit,) if by_vrrp else self.lb_nodes()))

    def wait_until_carried_by(self, *nodes: str) -> None:
        """Until the router sends the VIP's packets to exactly these LB nodes."""
        wait_until(
            lambda: self.carried_by() == nodes, what=f"The VIP at {' and '.join(nodes)}", timeout=_PATIENCE, every=0.02
        )

    def wait_until_answered_by(self, names: tuple[str, ...]) -> None:
        """Until exactly these instances answer new connections, and nothing fails."""
        web = Target(WEB.protocol, self.vip, WEB.port)

        def answered() -> bool:
            tally = traffic.send(self.lab, web, 64, timeout=2)
            return set(tally.by_instance) == set(names) and not tally.failures

        wait_until(answered, what=f"Answers of {', '.join(names)}", timeout=_PATIENCE, every=0.2)

    def drain_node(self, node: str) -> None:
        """Drain an LB node."""
        self.admin.drains.drain(f"lb-nodes/{self._node(node).id}")

    def wait_until_drained(self, node: str) -> None:
        """Until an LB node that drains carries nothing."""
        wait_until(lambda: not self._node(node).load_balancers, what=f"The end of {node}'s drain", timeout=_PATIENCE)

    def _node(self, name: str) -> LBNodeView:
        return next(each for each in self.admin.lb_nodes.list_all() if each.name == name)

    def enable_node(self, node: str, *, enabled: bool) -> None:
        """Let load balancers come to an LB node, or drain it."""
        found = self._node(node)
        if found.enabled is not enabled:
            self.admin.lb_nodes.update(found.id, enabled=enabled)

    def make_whole(self) -> None:
        """Bring back what a fault may have broken, and wait until all is well."""
        lab = self.lab
        for node in self.lb_nodes():
            if not network.link_is_up(lab.name, node, UPLINK):
                faults.plug_in_cable(lab, node)
        dead = [each for each in roster(lab) if processes.running(lab, each.title) is None]
        for program in dead:
            processes.start(lab, program)
        wait_for_programs(lab, dead)
        wait_for_instances(lab)
        for node in self.lb_nodes():
            self.enable_node(node, enabled=True)
        if self.api.pool_sizes() != {SERVING}:
            self.api.scale(SERVING, drain_deadline=0)
        wait_for_bgp(lab)
        # The router of a segment learns who carries the VIP when somebody asks for it.
        self.wait_until_answered_by(self.instances())
        self.wait_until_carried_by_all()
        self.wait_until_answered_by(self.instances())


@contextmanager
def set_scene(
    lab: Lab, api: ControlPlane, admin: AdminClient, family: int = 4, *, database_away: float = 60.0
) -> Iterator[Scene]:
    """A lab that is whole, with a new load balancer: the rings of an older one remember what happened to it.

    Its address is of that family; Conflict when the lab does not speak it.
    """
    if family not in lab.shape.families:
        raise Conflict(f"Lab {lab.name} speaks no IPv{family}: build one that does.")
    created = api.create_load_balancer(f"survival-{token_hex(4)}", family)
    for port in (WEB, WHO):
        api.add_service(created, port)
    hit = preferred(lab, created.ip)
    scene = Scene(lab=lab, api=api, admin=admin, vip=created.ip, hit=hit, database_away=database_away)
    try:
        scene.make_whole()
        yield scene
        scene.make_whole()
    finally:
        api.delete_load_balancer(created.id)

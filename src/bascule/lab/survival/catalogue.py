"""The faults that can be survived, each with its budget, how it is done and how it is undone.

What undoing needs beyond `Scene.make_whole` stands in `undo`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bascule.lab.shape import AnnouncerName, DatabaseKind, Shape
from bascule.lab.survival import deeds, deeds_on_announcers, deeds_on_instances
from bascule.lab.survival.scene import Scene
from bascule.lab.survival.verdict import Budget
from bascule.model.data_planes import DataPlaneName
from bascule.model.errors import NotFound

DEATH, CHANGE = Budget(silence=0.3), Budget(silence=0.05)
OWN = Budget(silence=0.05, own=True)
Deed = Callable[[Scene], None]


def _nothing(_scene: Scene) -> None:
    """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `prepare` is done before the flows begin; `hurt` are instances whose own flows it must hurt.

    `why` says which budget cannot be met, and why not; it is told only when the budget was missed.
    """

    name: str
    sentence: str
    budget: Budget
    inject: Deed
    prepare: Deed = _nothing
    undo: Deed = _nothing
    hurt: frozenset[str] = frozenset()
    data_planes: frozenset[DataPlaneName] = frozenset(DataPlaneName)
    databases: frozenset[DatabaseKind] = frozenset(DatabaseKind)
    announcers: frozenset[AnnouncerName] = frozenset(AnnouncerName)
    why: str = ""


_BY_BGP, _BY_VRRP = frozenset({AnnouncerName.BGP}), frozenset({AnnouncerName.VRRP})
_VM1 = frozenset({"vm1"})
_RETRANSMISSION = (
    "A packet that was inside the node is lost, and TCP sends it again after at least 200 ms (Linux's least"
    " retransmission time-out), doubled each time: a path that is back after 100 ms is heard of after 200 to 600 ms."
)
_ELECTION = (
    "By VRRP nobody has the address until the other node missed three adverts, which are 200 ms apart as shipped."
)
_MOVED_SLOTS = (
    "A connection that began in a slot which a change just moved is known to one LB node only: the other one leaves it"
    " to the old owner's hypervisor to find out (decisions/0020-second-chance.md). IPVS has no such memory: what moves"
    " to another node goes where the slot belongs now."
)

FAULTS: tuple[Fault, ...] = (
    Fault(
        name="nothing", sentence="Nothing is done: what this machine does by itself.", budget=CHANGE, inject=_nothing
    ),
    Fault(
        name="lb-node-dies",
        sentence="An LB node's agent gets a kill -9 and its cable is dead.",
        budget=DEATH,
        inject=deeds.kill_lb_node,
        why=_RETRANSMISSION,
    ),
    Fault(
        name="lb-node-hangs",
        sentence="Nothing passes between an LB node and the router, while its link stays up, as behind a switch.",
        budget=DEATH,
        inject=deeds.hang_lb_node,
        undo=deeds.unhang_lb_node,
        why="Only BFD notices, 5 times 300 ms after the last packet unless --bfd says otherwise: the lab is patient, so"
        " that sessions do not flap on a busy machine. " + _RETRANSMISSION,
    ),
    Fault(
        name="lb-node-returns",
        sentence="An LB node, dead before, comes back: cable and agent.",
        budget=CHANGE,
        prepare=deeds.kill_lb_node_and_wait,
        inject=deeds.revive_lb_node,
    ),
    Fault(
        name="lb-processes-die",
        sentence="All processes of an LB node get a kill -9: agent, BIRD, keepalived; its kernel lives.",
        budget=DEATH,
        inject=deeds.kill_lb_processes,
        why=_RETRANSMISSION,
    ),
    Fault(
        name="lb-node-drained",
        sentence="An LB node drains (`bascule node drain`): it withdraws, serves until no packets come, and stops.",
        budget=CHANGE,
        inject=deeds.drain_lb_node,
    ),
    Fault(
        name="lb-node-added",
        sentence="An LB node, disabled before, is enabled (`bascule node enable`): load balancers come to it.",
        budget=CHANGE,
        prepare=deeds.disable_lb_node,
        inject=deeds.add_lb_node,
    ),
    Fault(
        name="lb-agent-restarted",
        sentence="An LB node's agent gets a kill -9 and is started again.",
        budget=CHANGE,
        inject=deeds.restart_lb_agent,
    ),
    Fault(
        name="lb-agent-upgraded",
        sentence="An LB node's agent ends in good order and its successor starts, as a package's upgrade has it.",
        budget=CHANGE,
        inject=deeds.upgrade_lb_agent,
    ),
    Fault(
        name="control-plane-killed",
        sentence="Orchestrator and API get a kill -9 and are away for three seconds.",
        budget=CHANGE,
        inject=deeds.kill_control_plane,
    ),
    Fault(
        name="database-gone",
        sentence="The database loses power, and is back after a minute (--database-away says how long).",
        budget=CHANGE,
        inject=deeds.lose_database,
        undo=deeds.find_database,
        databases=frozenset({DatabaseKind.POSTGRESQL}),
    ),
    Fault(
        name="keepalived-reloaded",
        sentence="Every keepalived of an LB node reads its configuration again (SIGHUP).",
        budget=CHANGE,
        inject=deeds_on_announcers.reload_keepalived,
        data_planes=frozenset({DataPlaneName.KEEPALIVED}),
    ),
    Fault(
        name="bird-restarted",
        sentence="An LB node's BIRD ends (SIGTERM); its agent starts it again.",
        budget=CHANGE,
        inject=deeds_on_announcers.restart_bird,
        announcers=_BY_BGP,
    ),
    Fault(
        name="vrrp-killed",
        sentence="The keepalived that speaks VRRP gets a kill -9 on the LB node that has the VIP.",
        budget=DEATH,
        inject=deeds_on_announcers.kill_vrrp,
        announcers=_BY_VRRP,
    ),
    Fault(
        name="vrrp-frozen",
        sentence="The keepalived that speaks VRRP stands still (SIGSTOP) on the LB node that has the VIP.",
        budget=DEATH,
        inject=deeds_on_announcers.freeze_vrrp,
        announcers=_BY_VRRP,
    ),
    Fault(
        name="bgp-session-lost",
        sentence="The router closes its BGP session with an LB node, and opens it again three seconds later.",
        budget=CHANGE,
        inject=deeds_on_announcers.lose_bgp_session,
        announcers=_BY_BGP,
    ),
    Fault(
        name="bfd-silent",
        sentence="An LB node's BFD does not reach the router, whose link is up; three seconds later it does again.",
        budget=CHANGE,
        inject=deeds_on_announcers.silence_bfd,
        announcers=_BY_BGP,
    ),
    Fault(
        name="vip-deleted",
        sentence="Somebody deletes the VIP on an LB node by hand: its route, and its address wherever it is.",
        budget=CHANGE,
        inject=deeds_on_announcers.delete_vip,
        why="Where the kernel balances (ipvs) the address must be on the node: packets are lost until BIRD has"
        " withdrawn the route, or the agent's next pass, within a second, puts the address back.",
    ),
    Fault(
        name="instance-dies",
        sentence="vm1's server gets a kill -9.",
        budget=OWN,
        inject=deeds_on_instances.kill_instance,
        hurt=_VM1,
    ),
    Fault(
        name="instance-drained",
        sentence="The pool shrinks from three instances to two: the third drains, with more time than this takes.",
        budget=CHANGE,
        inject=deeds_on_instances.shrink_pool,
    ),
    Fault(
        name="instance-added",
        sentence="The pool grows from three instances to four.",
        budget=CHANGE,
        inject=deeds_on_instances.grow_pool,
    ),
    Fault(
        name="hypervisor-agent-restarted",
        sentence="hv1's agent gets a kill -9 and is started again.",
        budget=CHANGE,
        inject=deeds.restart_hypervisor_agent,
    ),
    Fault(
        name="hypervisor-dies",
        sentence="hv1's cable is dead and its agent gets a kill -9: vm1 and vm2 are gone at once, vm3 is elsewhere.",
        budget=OWN,
        inject=deeds.kill_hypervisor,
        undo=deeds.revive_hypervisor,
        hurt=frozenset({"vm1", "vm2"}),
    ),
    Fault(
        # What connections straight to vm1 suffer from the move itself counts as noise.
        name="instance-migrated",
        sentence="vm1 is said to be about to move, and moves to hv2 with its address and its connections.",
        budget=CHANGE,
        inject=deeds_on_instances.migrate_instance,
        undo=deeds_on_instances.migrate_instance_back,
        why="hv2 has the rules, but no program yet on a cable that it sees for the first time: until it has, packets of"
        " either direction are dropped. " + _RETRANSMISSION,
    ),
    Fault(
        name="instance-migrated-untold",
        sentence="vm1 moves to hv2 with its address and its connections; the control plane is told right after.",
        budget=CHANGE,
        inject=deeds_on_instances.migrate_instance_untold,
        undo=deeds_on_instances.migrate_instance_back,
        why="From the moment that it runs there until hv2 has its rules, hv2 does not decapsulate its packets, nor does"
        " it translate what the instance still says, which the client may answer with a reset.",
    ),
    Fault(
        name="lb-node-dies-during-change",
        sentence="The pool grows, and an LB node dies half a second after the change was asked for.",
        budget=DEATH,
        inject=deeds_on_instances.kill_lb_node_during_change,
        why=_MOVED_SLOTS,
    ),
    Fault(
        name="lb-node-dies-after-change",
        sentence="The pool has just grown, connections begin in slots that moved, and an LB node dies.",
        budget=DEATH,
        prepare=deeds_on_instances.grow_pool,
        inject=deeds.kill_lb_node,
        why=_MOVED_SLOTS,
    ),
    Fault(
        name="lb-node-dies-long-after",
        sentence="The pool grows, and an LB node dies 75 s later, when flows silent for a minute count as ended.",
        budget=DEATH,
        inject=deeds_on_instances.kill_lb_node_long_after_change,
        why=_MOVED_SLOTS,
    ),
    Fault(
        name="instance-cut-off",
        sentence="One LB node alone cannot reach vm1 any more: the LB nodes' verdicts on it differ.",
        budget=OWN,
        inject=deeds_on_instances.cut_off_instance,
        undo=deeds_on_instances.reconnect_instance,
        hurt=_VM1,
    ),
)

# What a data centre suffers and this list does not: told in the report, so that nobody takes silence for a proof.
ABSENT = {
    "The database is gone for a minute": "with --database postgresql only: SQLite's file stays with who has it open.",
    "An agent of another version": "an upgrade is a stop and a start here, of the same version.",
    "VRRP": "with --announcer vrrp only: all LB nodes are on one segment then, and one of them has the VIP.",
    "IPv6": "with --ipv6 only: all flows go over IPv6 then, in a lab of both families.",
}


def choose(names: list[str], shape: Shape) -> tuple[Fault, ...]:
    """The faults of these names, all that such a lab can suffer when there are none. Raises NotFound."""
    able = {
        fault.name: fault
        for fault in FAULTS
        if shape.dataplane in fault.data_planes
        and shape.database in fault.databases
        and shape.announcer in fault.announcers
    }
    kind = f"{shape.dataplane.value}, {shape.announcer.value} and {shape.database.value}"
    for name in names:
        if name not in able:
            raise NotFound(f"There is no fault {name} with {kind}: choose among {', '.join(able)}.")
    chosen = tuple(able[name] for name in names) or tuple(able.values())
    return tuple(map(_by_election, chosen)) if shape.announcer is AnnouncerName.VRRP else chosen


def _by_election(fault: Fault) -> Fault:
    return replace(fault, why=f"{_ELECTION} {_RETRANSMISSION}") if fault.budget is DEATH else fault

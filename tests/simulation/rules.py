"""What must hold at every step, checked as things happen.

A fault explains some violations (`Machine.excused`): a disk that forgot commands it had obeyed may do old things again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule, Version
from tests.simulation.machines import HostMachine, LBMachine, Machine, Match

_QUEUE = "SELECT entity_id, epoch, requested, done, lease_until FROM reconciliations"
_HELD = "SELECT b.id, e.address FROM load_balancers b LEFT JOIN elastic_ips e ON e.load_balancer_id = b.id"
_STATE = "SELECT state FROM load_balancers WHERE id = ?"
_STAYS = "SELECT 1 FROM placements WHERE load_balancer_id = ? AND lb_node_id = ? AND NOT leaving"
_DEAD = "SELECT count(*) FROM lb_nodes WHERE silence = 'replaced' AND enabled"
_DEAD_MOST = 1  # of three
_LEAKED = "SELECT address FROM elastic_ips WHERE managed AND load_balancer_id IS NULL"


class Broken(Exception):
    """A rule does not hold: `rule` is its name."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(f"{rule}: {sentence}")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Lease:
    """One row of the queue, and what had been requested when its entity was claimed last."""

    epoch: int
    requested: int
    done: int
    until: float | None
    answers: int


class Rules:
    """Knows the machines and the tables. `homes` says on which hypervisor each instance really is."""

    def __init__(self, raw: Any, nodes: Mapping[UUID, LBMachine], hosts: Mapping[UUID, HostMachine]) -> None:
        self._raw, self._nodes, self._hosts = raw, nodes, hosts
        self._leases: dict[UUID, Lease] = {}
        self._held: dict[UUID, str] = {}
        self.epochs: dict[UUID, int] = {}
        self.homes: dict[IPAddress, UUID] = {}
        # Instances that an operator moved: commands up to these epochs knew their old hypervisor.
        self._moved: dict[IPAddress, dict[UUID, int]] = {}

    def settle_homes(self, homes: Mapping[IPAddress, UUID]) -> None:
        """Where instances are from now on. Those that are gone stay where they were last."""
        for address, host_id in homes.items():
            if self.homes.get(address, host_id) != host_id:
                self._moved[address] = dict(self.epochs)
        self.homes.update(homes)

    # The tables

    def committed(self, now: float) -> None:
        """After every transaction that wrote something."""
        leases = {}
        for identifier, epoch, requested, done, until in self._raw.execute(_QUEUE):
            key = UUID(identifier)
            leases[key] = self._next(key, Lease(epoch, requested, done, until, requested), now)
            self.epochs[key] = epoch
        self._leases = leases
        self._addresses()
        dead = self._raw.execute(_DEAD).fetchone()[0]
        if dead > _DEAD_MOST:
            raise Broken("few are replaced", f"{dead} LB nodes count as dead at once")

    def _next(self, key: UUID, found: Lease, now: float) -> Lease:
        before = self._leases.get(key)
        if before is None:
            return found
        if found.epoch < before.epoch:
            raise Broken("one job per entity", f"the epoch of {key} fell from {before.epoch} to {found.epoch}")
        if found.epoch > before.epoch and before.until is not None and before.until > now:
            raise Broken("one job per entity", f"{key} was claimed while its lease {before.epoch} held")
        # Nobody holds it: a glance may end what had been requested when the last transaction ended, and no more.
        answers = before.answers if before.until is not None else before.requested
        if found.done > answers:
            raise Broken("no change lost", f"a request for {key} that came during a run counts as done")
        return found if found.epoch > before.epoch else replace(found, answers=before.answers)

    def _addresses(self) -> None:
        held = {UUID(identifier): address for identifier, address in self._raw.execute(_HELD)}
        if held == self._held:
            return
        bare = [key for key, address in held.items() if address is None]
        if bare:
            raise Broken("one holder per address", f"load balancer {bare[0]} has no address")
        if len(set(held.values())) != len(held):
            raise Broken("one holder per address", "two load balancers have one address")
        leaked = self._raw.execute(_LEAKED).fetchall()
        if leaked:
            raise Broken("no address leaked", f"{leaked[0][0]} belongs to nobody")
        for gone in self._held.keys() - held.keys():
            self._released(gone, self._held[gone])
        self._held = held

    def _released(self, load_balancer_id: UUID, text: str) -> None:
        for node in self._nodes.values():
            for address in node.announcer.announced:
                carried = node.holder(address) == load_balancer_id and str(address) == text
                if carried and not node.excuses(load_balancer_id):
                    raise Broken("one holder per address", f"{address} was released while {node.name} announces it")

    # Commands

    def sent(self, load_balancer_id: UUID, version: Version) -> None:
        """A command leaves an orchestrator: at that moment it must hold the lease."""
        lease = self._leases.get(load_balancer_id)
        if lease is None or lease.epoch == version.epoch:
            return
        # What is deleted is taken off machines that were silent, by whoever finds it there, in a later epoch.
        gone = self._raw.execute(_STATE, (str(load_balancer_id),)).fetchone() is None
        if version.epoch < lease.epoch or not gone:
            raise Broken(
                "one job per entity",
                f"a command of epoch {version.epoch} for {load_balancer_id} was sent under epoch {lease.epoch}",
            )

    def obeyed(self, machine: Machine, load_balancer_id: UUID, version: Version, *, removal: bool) -> None:
        """A command is on an agent's disk: it must not be older than the last one."""
        last = machine.known.get(load_balancer_id)
        stale = last is not None and (version < last[0] or (version == last[0] and last[1] and not removal))
        if stale and last is not None:
            raise Broken("fencing", f"{machine.name} obeyed {version} for {load_balancer_id} after {last[0]}")
        machine.known[load_balancer_id] = (version, removal)
        if isinstance(machine, LBMachine):
            before, machine.told = machine.told, told(machine)
            if load_balancer_id in before - machine.told and version.epoch == self.epochs.get(load_balancer_id):
                self._left(machine, load_balancer_id)
        if version.epoch > machine.excused.get(load_balancer_id, version.epoch):
            del machine.excused[load_balancer_id]

    def _left(self, node: LBMachine, load_balancer_id: UUID) -> None:
        """A node announces it no more, by command: as many others must have been told to, whom no fault excuses."""
        row = self._raw.execute(_STATE, (str(load_balancer_id),)).fetchone()
        if row is None or row[0] == "deleting" or node.excuses(load_balancer_id):
            return
        if self._raw.execute(_STAYS, (str(load_balancer_id), str(node.node.id))).fetchone():
            return  # it is told to serve anew, and to announce again at once
        least = 1 if node.was_disabled else 2
        others = [each for each in self._nodes.values() if each is not node]
        serving = sum(load_balancer_id in each.told or each.excuses(load_balancer_id) for each in others)
        if serving < least:
            raise Broken("served by as many", f"{node.name} leaves {load_balancer_id} to {serving} others")

    def excuse(self, machine: Machine) -> None:
        """Whatever was said until now may be forgotten or undone by this machine."""
        machine.excused = dict(self.epochs)
        if isinstance(machine, LBMachine):
            machine.told = told(machine)

    # Traffic

    def served(self, node: LBMachine) -> None:
        """The data plane changed: what is announced must still be there, and instances must be ready for it."""
        self._carried(node)
        self._reaches(node)

    def announced(self, node: LBMachine, addresses: Set[IPAddress]) -> None:
        """Addresses are announced anew: only by one load balancer, only when served, only with rules in place."""
        self._carried(node)
        self._reaches(node)
        for address in sorted(addresses):
            mine = node.holder(address)
            for other in self._nodes.values():
                theirs = other.holder(address)
                both = address in other.announcer.announced and theirs != mine
                if both and not node.excuses(mine) and not other.excuses(theirs):
                    raise Broken("one holder per address", f"{node.name} and {other.name} announce {address}")

    @staticmethod
    def _carried(node: LBMachine) -> None:
        missing = node.announcer.announced - node.data_plane.observe().ready
        if missing:
            raise Broken("serve before announce", f"{node.name} announces {min(missing)} and does not serve it")

    def _reaches(self, node: LBMachine) -> None:
        """Whom the node did not send to before must be ready now."""
        before, node.traffic = node.traffic, frozenset(traffic(node))
        for match in sorted(node.traffic - before, key=str):
            if not self._excused(node, match) and not self._ready(match):
                address, transport, port, instance = match
                raise Broken("rules before traffic", f"{node.name} sends {transport} {address}:{port} to {instance}")

    def _ready(self, match: Match) -> bool:
        return any(match_of(rule) == match for rule in self._hosts[self.homes[match[3]]].forwarding.rules)

    def _excused(self, node: LBMachine, match: Match) -> bool:
        host = self._hosts[self.homes[match[3]]]
        carried = next((each for each in node.orders.configurations if each.address == match[0]), None)
        if carried is None or not host.restored or node.excuses(carried.load_balancer_id):
            return True
        key = carried.load_balancer_id
        moved = self._moved.get(match[3], {})
        return key in host.excused or carried.version.epoch <= moved.get(key, -1)

    def unruled(self, host: HostMachine, rules: Set[ForwardingRule]) -> None:
        """A hypervisor let go of rules: no LB node may still send by them."""
        gone = {match_of(rule) for rule in rules} - {match_of(rule) for rule in host.forwarding.rules}
        gone = {match for match in gone if self.homes.get(match[3]) == host.node.id}
        for node in self._nodes.values() if gone else ():
            for match in sorted(gone & node.traffic, key=str):
                if not self._excused(node, match):
                    raise Broken("rules before traffic", f"{host.name} drops {match[3]}, {node.name} sends to it")


def told(node: LBMachine) -> frozenset[UUID]:
    """The load balancers that its disk tells it to announce."""
    return frozenset(each.load_balancer_id for each in node.orders.configurations if each.announced)


def match_of(rule: ForwardingRule) -> Match:
    """What a rule matches."""
    return rule.address, rule.protocol, rule.port, rule.instance


def traffic(node: LBMachine) -> Iterator[Match]:
    """Where an LB node's kernel sends the packets that it draws."""
    for key, service in node.data_plane.services.items():
        if key.address in node.announcer.announced:
            for backend in service.backends:
                yield key.address, key.protocol, key.port, backend.address

"""What machine events mean, and that the store follows them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from bascule.balancing.machine_events import Change, Meaning, Nothing, Register, Remove
from bascule.balancing.machines import obey
from bascule.events.messages import MACHINES, MachineEvent, MachineEventKind
from bascule.model.errors import InvalidInput
from bascule.model.instance_pools import Instance, InstancePool
from bascule.orchestration.queue import Priority
from bascule.store import hypervisors, instance_pools, instances, machines, tables
from bascule.store.database import Database, open_database
from bascule.store.times import from_seconds
from tests.conftest import migrated_sqlite
from tests.integration.expected_state import create_load_balancer, create_pool
from tests.unit.balancing.world import hypervisor

HV1, HV2 = hypervisor(1), hypervisor(2)
WEB: dict[str, Any] = {"address": "10.0.0.9", "pool": "web", "hypervisor": "hv1"}


def event(
    kind: str, sequence: int | None = None, *, machine: str = "vm-9", at: float = 1000.0, **fields: Any
) -> MachineEvent:
    """An event as a sender writes it."""
    body = {"kind": kind, "machine": machine, "at": datetime.fromtimestamp(at, UTC).isoformat(), **fields}
    return MACHINES.kind.validate_python({**body, **({} if sequence is None else {"sequence": sequence})})


@dataclass
class Store:
    """A database with two hypervisors, a pool `web` of three instances, and a load balancer on it."""

    database: Database
    pool_id: UUID
    load_balancer_id: UUID

    def obey(self, *events: MachineEvent) -> list[Meaning]:
        """Each in a transaction of its own."""
        found = []
        for one in events:
            with self.database.write() as connection:
                found.append(obey(connection, one, now=2000.0))
        return found

    def member(self, address: str) -> Instance | None:
        """The instance at an address."""
        with self.database.read() as connection:
            found = instances.find_by_address(connection, ip_address(address))
        return None if found is None else found[1]

    def pool(self) -> InstancePool:
        """The pool as it is."""
        with self.database.read() as connection:
            return instance_pools.get(connection, self.pool_id)

    def edit(self, address: str, **what: object) -> None:
        """A person changes an instance."""
        found = self.member(address)
        assert found is not None
        with self.database.write() as connection:
            instances.update(connection, replace(found, **what))  # type: ignore[arg-type]

    def queued(self) -> tuple[int, int, list[str]]:
        """How often reconciliation was asked for, how urgently, and why."""
        table = tables.orchestration.reconciliations
        with self.database.read() as connection:
            row = connection.execute(select(table)).one()
        return row.requested, row.priority, row.reasons


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A fresh one; the load balancer has been reconciled."""
    engine = open_database(migrated_sqlite(tmp_path))
    database = Database(engine)
    with database.write() as connection:
        for host in (HV1, HV2):
            hypervisors.insert(connection, host)
        pool_id = create_pool(connection, (HV1, HV2))
        load_balancer_id, _ = create_load_balancer(connection, pool_id, now=0.0)
        table = tables.orchestration.reconciliations
        connection.execute(table.update().values(done=table.c.requested))
    yield Store(database, pool_id, load_balancer_id)
    engine.dispose()


def test_a_machine_lives_through_its_events(store: Store) -> None:
    """It comes into the pool that is named, stops, starts, moves and goes; each step asks for a reconciliation."""
    store.obey(event("created", 1, **WEB))
    born = store.member("10.0.0.9")
    assert born is not None
    assert born == replace(born, name="vm-9", hypervisor_id=HV1.id, weight=1, evicted=False, stopped=False)
    requested, priority, reasons = store.queued()
    assert (requested, priority, reasons) == (2, Priority.EVENT, ["vm-9 was created"])
    store.obey(event("stopped", 2))
    assert store.member("10.0.0.9") == replace(born, stopped=True)
    assert born.id not in {member.id for member in store.pool().active}
    store.obey(event("migrated", 3, hypervisor="hv2"))
    assert store.member("10.0.0.9") == replace(born, stopped=True, hypervisor_id=HV2.id)
    store.obey(event("started", 4, hypervisor=str(HV2.id)))
    assert store.member("10.0.0.9") == replace(born, hypervisor_id=HV2.id)
    store.obey(event("deleted", 5))
    assert store.member("10.0.0.9") is None
    assert store.queued()[0] == 6


def test_what_people_set_stays(store: Store) -> None:
    """Events touch neither weight nor eviction, and adopt what was registered by hand as it is."""
    store.edit("10.0.0.1", weight=7, evicted=True, name="by-hand")
    before = store.member("10.0.0.1")
    assert before is not None
    found = store.obey(
        event("created", 1, address="10.0.0.1", pool="web", hypervisor="hv2"),
        event("stopped", 2),
        event("started", 3, hypervisor="hv2"),
    )
    assert [type(one) for one in found] == [Change, Change, Change]
    assert store.member("10.0.0.1") == replace(before, hypervisor_id=HV2.id)


def test_whom_people_took_out_stays_out(store: Store) -> None:
    """A machine whose instance was deleted by hand comes back only when it is created anew."""
    store.obey(event("created", 1, **WEB))
    born = store.member("10.0.0.9")
    assert born is not None
    with store.database.write() as connection:
        instances.delete(connection, born.id)
    store.obey(event("started", 2, **WEB), event("migrated", 3, **WEB))
    assert store.member("10.0.0.9") is None
    store.obey(event("created", 4, **WEB))
    assert store.member("10.0.0.9") is not None


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_repeated_or_late_the_newest_event_wins(store: Store, seed: int) -> None:
    """Two machines' events, each repeated and shuffled over each other, end where the newest of each leads."""
    chance = random.Random(seed)
    history = [
        event("created", 1, **WEB),
        event("stopped", 2, **WEB),
        event("migrated", 3, **(WEB | {"hypervisor": "hv2"})),
        event("started", 4, **(WEB | {"hypervisor": "hv2"})),
    ]
    other = [replace_machine(one, "vm-8", "10.0.0.8") for one in (history[0], history[1])]
    late = [chance.choice(history) for _ in range(6)] + other + [chance.choice(other)]
    chance.shuffle(late)
    store.obey(*late, history[3], other[1], *late)
    nine, eight = store.member("10.0.0.9"), store.member("10.0.0.8")
    assert nine is not None
    assert (nine.hypervisor_id, nine.stopped) == (HV2.id, False)
    # A machine that was unknown when it stopped needs no rules: it comes into the pool when it starts.
    assert eight is None or eight.stopped
    store.obey(event("deleted", 5), *late)
    assert store.member("10.0.0.9") is None


def replace_machine(one: MachineEvent, machine: str, address: str) -> MachineEvent:
    """The same of another machine."""
    return one.model_copy(update={"machine": machine, "address": ip_address(address)})


def test_without_sequences_time_orders(store: Store) -> None:
    """An event that was sent earlier, or at the same moment, is ignored."""
    found = store.obey(
        event("created", at=10, **WEB), event("stopped", at=12), event("started", at=11), event("started", at=12)
    )
    assert [type(one) for one in found] == [Register, Change, Nothing, Nothing]


def test_a_duplicate_asks_for_nothing(store: Store) -> None:
    """The same message once more changes no row and wakes nobody."""
    store.obey(event("created", 1, **WEB))
    before = store.queued()
    store.obey(event("created", 1, **WEB), event("created", 1, **WEB))
    assert store.queued() == before


def test_a_machine_takes_over_the_address_of_one_that_is_gone(store: Store) -> None:
    """The new one's creation may come before the old one's deletion: what belonged to the old one goes with it."""
    store.obey(event("created", 1, **WEB))
    store.edit("10.0.0.9", weight=9)
    (found,) = store.obey(event("created", 1, machine="vm-10", **WEB))
    assert isinstance(found, Register)
    store.obey(event("deleted", 2))
    new = store.member("10.0.0.9")
    assert new is not None
    assert (new.name, new.weight) == ("vm-10", 1)


def test_other_machines_of_the_data_centre_leave_no_trace(store: Store) -> None:
    """A machine that no event puts into a pool may live on a hypervisor that nobody registered."""
    found = store.obey(
        event("created", 1, address="10.9.9.9", hypervisor="unknown"),
        event("migrated", 2, hypervisor="unknown-too"),
        event("stopped", 3),
    )
    assert found == [Nothing(remember=False)] * 3
    with store.database.read() as connection:
        assert machines.find(connection, "vm-9") is None


def test_machines_that_are_called_by_our_words_are_found(store: Store) -> None:
    """A sender may name an instance by its identifier or its address."""
    first = store.member("10.0.0.1")
    assert first is not None
    found = store.obey(event("stopped", 1, machine=str(first.id)), event("deleted", 1, machine="10.0.0.2"))
    assert [type(one) for one in found] == [Change, Remove]
    assert store.member("10.0.0.2") is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (WEB | {"pool": "nowhere"}, "There is no instance pool 'nowhere'"),
        (WEB | {"hypervisor": "hv9"}, "There is no hypervisor 'hv9'"),
        ({"pool": "web"}, "needs its address and its hypervisor"),
    ],
)
def test_what_cannot_be_obeyed_says_why(store: Store, fields: dict[str, Any], words: str) -> None:
    """The sentence tells what to do, nothing is written, and the event can be sent again."""
    with pytest.raises(InvalidInput, match=words):
        store.obey(event("created", 1, **fields))
    assert isinstance(store.obey(event("created", 1, **WEB))[0], Register)


def test_two_pools_of_one_name_are_told_apart_by_identifier(store: Store) -> None:
    """A name that means two pools is refused."""
    with store.database.write() as connection:
        instance_pools.insert(connection, InstancePool(id=uuid4(), name="web"), template={}, now=1.0)
    with pytest.raises(InvalidInput, match="2 instance pools are named 'web'"):
        store.obey(event("created", 1, **WEB))
    store.obey(event("created", 1, **(WEB | {"pool": str(store.pool_id)})))
    assert store.member("10.0.0.9") is not None


def test_machines_deleted_long_ago_are_forgotten(store: Store) -> None:
    """Their rows go; those of living machines stay."""
    store.obey(event("created", 1, **WEB), event("deleted", 1, machine="vm-1", at=10))
    with store.database.write() as connection:
        machines.forget_deleted(connection, before=11)
        assert machines.find(connection, "vm-1") is None
        assert machines.find(connection, "vm-9") is not None


def test_messages_are_written_as_documented() -> None:
    """Kebab-case JSON; unknown fields of a later release are skipped, another version is refused."""
    text = MACHINES.kind.dump_json(event("created", 1, **WEB), by_alias=True)
    assert MACHINES.kind.validate_json(text) == event("created", 1, **WEB)
    assert MachineEventKind.CREATED in text.decode()
    later = b'{"kind": "stopped", "machine": "a", "at": "2026-01-31T12:00:00Z", "colour": "red"}'
    assert MACHINES.kind.validate_json(later).machine == "a"
    with pytest.raises(ValueError, match="version"):
        MACHINES.kind.validate_json(later.replace(b"{", b'{"version": 2, ', 1))


def test_a_machine_is_awaited_where_it_is_about_to_be(store: Store) -> None:
    """Told of beforehand, a move makes the other hypervisor ready; it ends with the move, whoever names the place."""
    store.obey(event("created", 1, **WEB), event("migrating", 2, hypervisor="hv2"))
    born = store.member("10.0.0.9")
    assert born is not None
    assert (born.hypervisor_id, born.moving_to, born.places) == (HV1.id, HV2.id, (HV1.id, HV2.id))
    assert store.queued()[2][-1] == "vm-9 was migrating"
    assert store.obey(event("migrating", 3, hypervisor="hv2")) == [Nothing(remember=True)]
    store.obey(event("migrated", 4))
    moved = store.member("10.0.0.9")
    assert moved == replace(born, hypervisor_id=HV2.id, moving_to=None)
    # The one that was overtaken means nothing.
    assert store.obey(event("migrating", 3, hypervisor="hv1")) == [Nothing(remember=False)]


@pytest.mark.parametrize("after", ["started", "stopped", "migrating"])
def test_a_move_that_does_not_happen_is_called_off(store: Store, after: str) -> None:
    """A machine that started or stopped where it is, or is said to move there, moves nowhere."""
    store.obey(event("created", 1, **WEB), event("migrating", 2, hypervisor="hv2"))
    store.obey(event(after, 3, hypervisor="hv1"))
    found = store.member("10.0.0.9")
    assert found is not None
    assert (found.hypervisor_id, found.moving_to, found.stopped) == (HV1.id, None, after == "stopped")


def test_a_move_of_nobody_known_means_nothing(store: Store) -> None:
    """Who is in no pool is told of when it has moved; and a move needs its end."""
    assert store.obey(event("migrating", 1, machine="vm-8", hypervisor="hv2")) == [Nothing(remember=False)]
    assert store.obey(event("migrating", 1, **WEB)) == [Nothing(remember=True)]
    assert store.member("10.0.0.9") is None
    store.obey(event("created", 2, **WEB))
    with pytest.raises(InvalidInput, match="needs the hypervisor it moves to"):
        store.obey(event("migrating", 3))


def test_a_member_that_people_registered_is_awaited_too(store: Store) -> None:
    """By its address; it is the machine's from then on."""
    by_hand = store.pool().members[0]
    other = "hv2" if by_hand.hypervisor_id == HV1.id else "hv1"
    store.obey(event("migrating", 1, machine=str(by_hand.address), hypervisor=other))
    found = store.member(str(by_hand.address))
    assert found is not None
    assert found == replace(by_hand, moving_to=HV2.id if other == "hv2" else HV1.id)


def test_who_makes_room_for_a_machine_that_is_back_drains(store: Store) -> None:
    """Its connections live on for a while; one that stopped, or that was deleted, has none."""
    with store.database.write() as connection:
        instance_pools.update(connection, replace(instance_pools.get(connection, store.pool_id), size=2))
    first: dict[str, Any] = {"machine": "10.0.0.1"}
    store.obey(event("stopped", 1, **first))
    assert [member.drain_until is None for member in store.pool().members] == [True, True, True]
    store.obey(event("started", 2, **first))
    assert [member.drain_until is None for member in store.pool().members] == [True, True, False]
    assert [member.name for member in store.pool().draining] == ["vm2"]
    store.obey(event("stopped", 3, **first))
    assert store.pool().draining == ()


def test_a_removed_instance_that_drains_follows_its_machine(store: Store) -> None:
    """It moves, stops and dies with it; whoever is created in its name is another one."""
    created = event("created", 1, **WEB)
    store.obey(created)
    with store.database.write() as connection:
        own = store.member("10.0.0.9")
        assert own is not None
        instances.update(connection, replace(own, leaving=True, drain_until=from_seconds(3000.0)))
    store.obey(event("migrated", 2, hypervisor="hv2"))
    moved = store.member("10.0.0.9")
    assert moved is not None
    assert (moved.hypervisor_id, moved.leaving) == (HV2.id, True)
    store.obey(event("created", 3, **WEB))
    born = store.member("10.0.0.9")
    assert born is not None
    assert (born.id == own.id, born.leaving) == (False, False)

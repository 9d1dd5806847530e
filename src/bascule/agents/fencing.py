"""Which commands an agent obeys: pure.

A command with an older version than what is obeyed comes from a worker that lost its lease, or came late. A removal is
remembered by a tombstone, so that a late command cannot bring back what was removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from bascule.model.configurations import Version
from bascule.model.errors import StaleCommand

TOMBSTONES_MAX = 1000


class Configuration(Protocol):
    """What both agents' configurations have in common."""

    @property
    def load_balancer_id(self) -> UUID:
        """Whose it is."""

    @property
    def version(self) -> Version:
        """How new it is."""


C = TypeVar("C", bound=Configuration)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A load balancer was removed by a command of this version."""

    load_balancer_id: UUID
    version: Version


@dataclass(frozen=True, slots=True)
class DesiredState(Generic[C]):
    """All that an agent was told: one configuration a load balancer, and the newest removals, oldest first."""

    configurations: tuple[C, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()

    def of(self, load_balancer_id: UUID) -> C | None:
        """The configuration of one load balancer, if it is carried."""
        return next((each for each in self.configurations if each.load_balancer_id == load_balancer_id), None)


def put(state: DesiredState[C], configuration: C) -> DesiredState[C]:
    """The state after obeying. The same version again is obeyed (a repeated message), unless it was removed since.

    Raises StaleCommand.
    """
    identity, version = configuration.load_balancer_id, configuration.version
    obeyed, removed = state.of(identity), _removal(state, identity)
    if obeyed is not None and version < obeyed.version:
        raise _stale(identity, version, obeyed.version)
    if removed is not None and version <= removed:
        raise _stale(identity, version, removed)
    others = tuple(each for each in state.configurations if each.load_balancer_id != identity)
    graves = tuple(each for each in state.tombstones if each.load_balancer_id != identity)
    return replace(state, configurations=(*others, configuration), tombstones=graves)


def remove(state: DesiredState[C], load_balancer_id: UUID, version: Version) -> DesiredState[C]:
    """The state after removing; removing what is not there is remembered too. Raises StaleCommand."""
    obeyed, removed = state.of(load_balancer_id), _removal(state, load_balancer_id)
    known = [*([obeyed.version] if obeyed else []), *([removed] if removed else [])]
    if known and version < max(known):
        raise _stale(load_balancer_id, version, max(known))
    others = tuple(each for each in state.configurations if each.load_balancer_id != load_balancer_id)
    graves = tuple(each for each in state.tombstones if each.load_balancer_id != load_balancer_id)
    graves = (*graves, Tombstone(load_balancer_id, version))[-TOMBSTONES_MAX:]
    return replace(state, configurations=others, tombstones=graves)


def _removal(state: DesiredState[C], load_balancer_id: UUID) -> Version | None:
    return next((each.version for each in state.tombstones if each.load_balancer_id == load_balancer_id), None)


def _stale(load_balancer_id: UUID, offered: Version, obeyed: Version) -> StaleCommand:
    return StaleCommand(
        f"Epoch {offered.epoch}, generation {offered.generation} for load balancer {load_balancer_id} is too old: "
        f"epoch {obeyed.epoch}, generation {obeyed.generation} is obeyed. Read the newest state and start over."
    )

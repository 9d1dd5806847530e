"""What an application writes to have an orchestrator: a few functions for each kind of entity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sqlalchemy import Connection

from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.jobs import Action, Job

I = TypeVar("I")  # noqa: E741  the inventory's type
E = TypeVar("E")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[E]):
    """What decide found: one sentence for humans and tests, and the event to act on (None: nothing to do)."""

    sentence: str
    event: E | None = None


class Reconciler(Protocol[I, E]):
    """One kind of entity. `decide` and `plan` are pure; `inventory` and `perform` act. Inherit it, or look like it."""

    kind: str

    async def inventory(self, claim: Claim) -> I | None:
        """The state of the world for this entity; None when it exists no more."""

    def decide(self, inventory: I) -> Decision[E]:
        """Compare what should be with what is. Raises BasculeError when nothing can be done for now."""

    def plan(self, event: E) -> Job:
        """The job tree that carries out the event. Every prefix of it leaves the world safe."""

    async def perform(self, claim: Claim, action: Action) -> object:
        """Perform one step of the tree; doing it twice is doing it once. The answer is recorded (`printable`)."""

    def exists(self, connection: Connection, entity: Entity) -> bool:
        """Whether the entity is still there, asked when a run ends well."""

    def gave_up(self, connection: Connection, claim: Claim, error: str) -> None:  # noqa: ARG002
        """The entity failed so often that a human was told; record it for whoever waits. It is retried all the same.

        By default nobody waits.
        """
        return

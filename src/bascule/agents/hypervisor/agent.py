"""The hypervisor agent: obeys commands and keeps the rules in force, with or without a control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from bascule.agents.fencing import DesiredState
from bascule.agents.hypervisor import translation
from bascule.agents.keeper import Keeper
from bascule.agents.loop import EnforcementLoop
from bascule.agents.passes import Pass
from bascule.agents.state_file import StateFile
from bascule.forwarding.interface import Forwarding
from bascule.model.addresses import address_order
from bascule.model.configurations import ForwardingConfiguration, ForwardingRule, Version
from bascule.model.errors import SystemFailure
from bascule.model.reports import ForwardingReport, HypervisorReport

DESIRED: TypeAdapter[DesiredState[ForwardingConfiguration]] = TypeAdapter(DesiredState[ForwardingConfiguration])

# Seconds between two looks for an instance that is to come: routes may change faster than anybody can look.
_LOOK_AGAIN = 0.05

log = structlog.stdlib.get_logger(__name__)


class Closable(Protocol):
    """What tells until it is closed."""

    def close(self) -> None:
        """Tell no more."""


# Calls from a thread of its own what it is given, with whether more than neighbours changed.
Watch: TypeAlias = Callable[[Callable[[bool], None]], Closable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a pass found and did; `enforced` are the rules it put in force, None when the driver failed."""

    forwarding: ForwardingReport = field(default_factory=ForwardingReport)
    enforced: frozenset[ForwardingRule] | None = None
    changes: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Enforcement:
    """Applies the rules by way of the driver. Call from one thread at a time."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding
        self._started = False
        self._applied: Set[ForwardingRule] | None = None

    def apply(self, rules: frozenset[ForwardingRule]) -> Observation:
        """One pass: start the driver if need be, enforce, observe."""
        current = Pass()
        self._started = self._started or current.succeeds("forwarding", self._forwarding.start)
        done = current.attempt("forwarding", lambda: self._forwarding.enforce(rules)) if self._started else None
        if done is not None:
            current.note(done, asked_for=self._applied != rules)
            self._applied = rules
        report = current.attempt("forwarding", self._forwarding.observe) if self._started else None
        report = report or ForwardingReport()
        absent = sorted({rule.instance for rule in rules} - report.instances, key=address_order)
        return Observation(
            forwarding=report,
            enforced=None if done is None else rules,
            changes=tuple(current.changes),
            repairs=tuple(current.repairs),
            problems=(*current.problems, *(f"Instance {instance} is not reachable from here." for instance in absent)),
        )

    def close(self) -> None:
        """Let go of the driver's handles. Forwarding goes on."""
        self._forwarding.close()


class HypervisorAgent:
    """Use it from one event loop: `start`, commands and reports, `close`."""

    def __init__(
        self,
        *,
        node: str,
        orders: StateFile[DesiredState[ForwardingConfiguration]],
        enforcement: Enforcement,
        interval: float,
        watch: Watch | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`interval` is seconds between passes; `now` tells seconds since the epoch.

        With `watch`, an instance that was not here yet is looked for whenever links or routes change.
        """
        self.node = node
        self.started_at = now()
        self._keeper = Keeper(orders)
        self._enforcement = enforcement
        self._loop = EnforcementLoop[frozenset[ForwardingRule], Observation](
            lambda: translation.merge(self._keeper.state.configurations), enforcement.apply, interval=interval
        )
        self._task: asyncio.Task[None] | None = None
        self._watch = watch
        self._watching: Closable | None = None
        self._look: asyncio.TimerHandle | None = None
        self._looked_at = 0.0

    async def start(self) -> None:
        """Resume from disk alone."""
        # The first report must already tell what is there, or the control plane would take the host for empty.
        await self._loop.enforce()
        self._task = asyncio.create_task(self._loop.run())
        if self._watch is not None:
            running = asyncio.get_running_loop()

            def changed(routes: bool) -> None:
                if routes:
                    running.call_soon_threadsafe(self._look_soon)

            self._watching = self._watch(changed)

    async def close(self) -> None:
        """Stop enforcing. Forwarding goes on."""
        if self._watching is not None:
            await asyncio.to_thread(self._watching.close)
        if self._look is not None:
            self._look.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._loop.close()
        await asyncio.to_thread(self._enforcement.close)

    def _look_soon(self) -> None:
        """Links or routes changed: whoever is still missing may have come. Its first packets want to be translated."""
        seen = self._loop.last or Observation()
        missing = {rule.instance for rule in seen.enforced or ()} - seen.forwarding.instances
        if missing and self._look is None:
            running = asyncio.get_running_loop()
            self._look = running.call_at(max(running.time(), self._looked_at + _LOOK_AGAIN), self._look_now)

    def _look_now(self) -> None:
        self._look, self._looked_at = None, asyncio.get_running_loop().time()
        self._loop.poke()

    async def put(self, configuration: ForwardingConfiguration) -> ForwardingConfiguration:
        """Obey and enforce. LB nodes send traffic once this has returned, so a driver that failed is an error here.

        Raises StaleCommand, InvalidInput, Taken, or SystemFailure.
        """
        identity = configuration.load_balancer_id
        async with self._keeper.lock(identity):
            await self._keeper.put(configuration, lambda state: translation.check(state.configurations))
            _insist(await self._loop.enforce())
            log.info("configured", load_balancer=str(identity), generation=configuration.version.generation)
            return configuration

    async def delete(self, load_balancer_id: UUID, version: Version) -> None:
        """Forget and enforce. Raises StaleCommand or SystemFailure."""
        async with self._keeper.lock(load_balancer_id):
            await self._keeper.remove(load_balancer_id, version)
            _insist(await self._loop.enforce())
            log.info("removed", load_balancer=str(load_balancer_id), generation=version.generation)

    def report(self) -> HypervisorReport:
        """All of the hypervisor, as of the last pass."""
        observed = self._loop.last or Observation()
        return HypervisorReport(
            node=self.node,
            started_at=self.started_at,
            load_balancers=self._keeper.state.configurations,
            enforced=observed.enforced == translation.merge(self._keeper.state.configurations),
            forwarding=observed.forwarding,
            problems=(*([self._keeper.problem] if self._keeper.problem else []), *observed.problems),
            repairs=self._loop.repairs,
        )


def _insist(observed: Observation) -> None:
    if observed.enforced is None:
        raise SystemFailure(" ".join(observed.problems))

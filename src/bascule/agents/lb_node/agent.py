"""The LB agent: obeys commands, checks instances, and keeps the node right, with or without a control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from bascule.agents.fencing import DesiredState
from bascule.agents.keeper import Keeper
from bascule.agents.lb_node import observed, quorum, serving
from bascule.agents.lb_node.enforcement import Enforcement, Observation
from bascule.agents.lb_node.reporting import balancer_report
from bascule.agents.lb_node.saved_verdicts import SavedVerdict, SavedVerdicts
from bascule.agents.lb_node.serving import Desired
from bascule.agents.loop import EnforcementLoop
from bascule.agents.state_file import StateFile
from bascule.healthchecks.interface import HealthEvent, TargetKey
from bascule.healthchecks.notifier import Notifier
from bascule.healthchecks.runner import HealthCheckRunner
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import BalancerConfiguration, Version
from bascule.model.errors import InvalidInput, SystemFailure
from bascule.model.reports import BalancerReport, LBNodeReport

FIRST_VERDICT_LIMIT = 3.0  # seconds a command waits for the checks of new instances
_LOOK_AGAIN = 0.1  # seconds
DRAIN = 0.5  # seconds between withdrawing an address and letting go of it; routers take milliseconds to follow

DESIRED: TypeAdapter[DesiredState[BalancerConfiguration]] = TypeAdapter(DesiredState[BalancerConfiguration])

log = structlog.stdlib.get_logger(__name__)


class LBAgent:
    """Use it from one event loop: `start`, commands and reports, `close`."""

    def __init__(
        self,
        *,
        node: str,
        orders: StateFile[DesiredState[BalancerConfiguration]],
        verdicts: StateFile[tuple[SavedVerdict, ...]],
        health_checks: HealthCheckRunner,
        enforcement: Enforcement,
        interval: float,
        drain: float = DRAIN,
        hold: float = 0.0,
        notifier: Notifier | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`notifier` is told what goes up and down; `now` tells seconds since the epoch.

        `interval` is seconds between passes, `drain` seconds between withdrawing an address and letting go of it.
        `hold` is how many seconds a machine that comes back with nothing announced waits for a command before it
        announces what its disk says: it may be long outdated.
        """
        self.node = node
        self.started_at = now()
        self._keeper = Keeper(orders)
        self._saved = SavedVerdicts(verdicts, self._known)
        self._checks = health_checks
        self._enforcement = enforcement
        self._notifier = notifier
        self._quorums: Mapping[UUID, bool] = {}
        self._observed: Mapping[TargetKey, Verdict] = {}  # by a data plane that checks its backends itself
        self._leaving: set[UUID] = set()
        self._fading: set[UUID] = set()
        # Targets whose first verdict a command waits for: they join together, so that rings change once.
        self._joining: set[TargetKey] = set()
        self._loop = EnforcementLoop[Desired, Observation](self._desire, enforcement.apply, interval=interval)
        self._drain, self._hold = drain, hold
        self._held: frozenset[UUID] = frozenset()
        self._held_until = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Resume from disk alone. The saved verdicts hold until new checks say otherwise, so nothing is interrupted."""
        self._observed = self._saved.load()
        self._checks.seed(self._observed)
        self._checks.on_change, self._checks.on_event = self._on_verdict, self._on_event
        await self._checks.first_verdicts(self._check_all(), FIRST_VERDICT_LIMIT)
        await self._hold_back()
        # The first report must already tell what is there, or the control plane would take the node for empty.
        await self._loop.enforce()
        self._tasks = [asyncio.create_task(self._loop.run()), asyncio.create_task(self._saved.run())]

    async def _hold_back(self) -> None:
        """What routers are told already, by an earlier process, goes on; what only the disk tells waits for a word."""
        announced = await asyncio.to_thread(self._enforcement.announced)
        carried = self._keeper.state.configurations
        self._held = frozenset(each.load_balancer_id for each in carried if each.address not in announced)
        self._held_until = time.monotonic() + self._hold

    async def close(self) -> None:
        """Stop checking and enforcing. Forwarding and announcing go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._checks.close()
        await self._loop.close()
        if self._notifier is not None:
            await self._notifier.close()
        await asyncio.to_thread(self._enforcement.close)

    def heard(self) -> None:
        """The control plane spoke, whatever it said."""
        self._enforcement.heard()

    async def put(self, configuration: BalancerConfiguration) -> BalancerReport:
        """Obey, wait for the first verdicts on new instances, enforce, and tell what is there now.

        Raises StaleCommand, InvalidInput, Taken, Conflict, or SystemFailure when the disk refuses: nothing is changed.
        """
        identity = configuration.load_balancer_id
        serving.check_carried(configuration, self._enforcement.data_plane_name, self._enforcement.capabilities)
        async with self._keeper.lock(identity):
            await self._keeper.put(configuration, self._check_state)
            self._leaving.discard(identity)
            self._held -= {identity}
            if not configuration.announced:
                await self._fade(configuration)
            await self._join(self._check_all())
            seen = await self._serve(configuration)
            log.info("configured", load_balancer=str(identity), generation=configuration.version.generation)
            return replace(self._report_on(configuration, seen), problems=seen.problems)

    async def _serve(self, configuration: BalancerConfiguration) -> Observation:
        """Enforce; where the data plane checks instances, until it is ready, which waits for its first checks."""
        seen, deadline = await self._loop.enforce(), time.monotonic() + FIRST_VERDICT_LIMIT
        while self._enforcement.checks and configuration.address not in seen.data_plane.ready:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_LOOK_AGAIN)
            seen = await self._loop.enforce()
        return seen

    def _check_state(self, state: DesiredState[BalancerConfiguration]) -> None:
        serving.check(state.configurations)
        if self._enforcement.checks:
            try:
                self._enforcement.require(serving.desire(state.configurations, {}, set(), unjudged=True).services)
            except SystemFailure as error:
                raise InvalidInput(error.sentence, field="services") from error

    async def _join(self, new: frozenset[TargetKey]) -> None:
        self._joining |= new
        try:
            await self._checks.first_verdicts(new, FIRST_VERDICT_LIMIT)
        finally:
            self._joining -= new

    async def delete(self, load_balancer_id: UUID, version: Version) -> None:
        """Withdraw, wait for the routers, let go. Raises StaleCommand, or SystemFailure when disk or kernel refuses."""
        async with self._keeper.lock(load_balancer_id):
            self._keeper.check_removal(load_balancer_id, version)
            carried = self._keeper.state.of(load_balancer_id)
            if carried is not None:
                await self._fade(carried)
                self._leaving.add(load_balancer_id)
                await self._withdraw(carried)
            await self._keeper.remove(load_balancer_id, version)
            self._leaving.discard(load_balancer_id)
            self._check_all()
            if carried is not None:
                await self._loop.enforce()
                log.info("removed", load_balancer=str(load_balancer_id), generation=version.generation)

    async def _fade(self, carried: BalancerConfiguration) -> None:
        """Before it is withdrawn: let routers move the address's packets to other nodes, and wait until they have."""
        if not self._enforcement.grace or not self._is_announced(carried):
            return
        self._fading.add(carried.load_balancer_id)
        try:
            await self._loop.enforce()
            await asyncio.sleep(self._enforcement.grace)
        finally:
            self._fading.discard(carried.load_balancer_id)

    def _is_announced(self, carried: BalancerConfiguration) -> bool:
        return self._loop.last is not None and carried.address in self._loop.last.announcer.announced

    async def _withdraw(self, carried: BalancerConfiguration) -> None:
        was_announced = self._is_announced(carried)
        seen = await self._loop.enforce()
        if carried.address in seen.announcer.announced:
            raise SystemFailure(f"{carried.address} cannot be withdrawn: {' '.join(seen.problems)}")
        if was_announced:
            await asyncio.sleep(self._drain)

    def report(self) -> LBNodeReport:
        """All of the node, as of the last pass."""
        seen = self._loop.last or Observation()
        problems = [each for each in (self._keeper.problem, self._saved.problem) if each is not None]
        return LBNodeReport(
            node=self.node,
            started_at=self.started_at,
            data_plane_name=self._enforcement.data_plane_name,
            load_balancers=tuple(self._report_on(each, seen) for each in self._keeper.state.configurations),
            data_plane=seen.data_plane,
            announcer=seen.announcer,
            problems=(*problems, *seen.problems),
            repairs=self._loop.repairs,
        )

    def _report_on(self, configuration: BalancerConfiguration, seen: Observation) -> BalancerReport:
        return balancer_report(configuration, seen, self._verdicts_of((configuration,), seen))

    def _desire(self) -> Desired:
        configurations = self._keeper.state.configurations
        if self._enforcement.checks:
            self._observe(configurations)
        verdicts = {key: each for key, each in self._known().items() if key not in self._joining}
        before, self._quorums = self._quorums, quorum.quorums(configurations, verdicts, self._quorums)
        for event in quorum.events(configurations, before, self._quorums):
            log.info("quorum changed", service=str(event.service_id), address=str(event.address), up=event.up)
            self._on_event(event)
        unjudged = self._enforcement.checks
        held = self._held if time.monotonic() < self._held_until else frozenset()
        return serving.desire(
            configurations,
            verdicts,
            self._leaving | held,
            self._quorums,
            fading=self._fading,
            unjudged=unjudged,
        )

    def _known(self) -> Mapping[TargetKey, Verdict]:
        """The verdicts, whoever gives them."""
        return self._observed if self._enforcement.checks else self._checks.verdicts

    def _verdicts_of(
        self, configurations: tuple[BalancerConfiguration, ...], seen: Observation
    ) -> Mapping[TargetKey, Verdict]:
        if not self._enforcement.checks:
            return self._checks.verdicts
        return observed.verdicts(configurations, seen.data_plane, self._observed)

    def _observe(self, configurations: tuple[BalancerConfiguration, ...]) -> None:
        """Take over what the data plane saw in the last pass."""
        seen = self._loop.last or Observation()
        before, self._observed = self._observed, self._verdicts_of(configurations, seen)
        for event in observed.events(configurations, before, self._observed):
            log.info("health changed", service=str(event.service_id), address=str(event.address), up=event.up)
            self._on_event(event)
        if before != self._observed:
            self._saved.look()

    def _check_all(self) -> frozenset[TargetKey]:
        """Check what is carried now; returns the targets that are new and UNKNOWN."""
        self._saved.look()
        checked = () if self._enforcement.checks else self._keeper.state.configurations
        return self._checks.set_targets(serving.targets(checked))

    def _on_verdict(self) -> None:
        self._loop.poke()
        self._saved.look()

    def _on_event(self, event: HealthEvent) -> None:
        if self._notifier is not None:
            self._notifier.tell(event)

"""Runs the checks: one task a target, each at a phase of its own so that checks spread over the interval."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from random import Random

import structlog

from bascule.healthchecks.interface import HealthEvent, Probe, ProbeResult, Target, TargetKey
from bascule.healthchecks.verdict import Verdict, judge, pause
from bascule.model.health_checks import HealthCheckMode

log = structlog.stdlib.get_logger(__name__)


class HealthCheckRunner:
    """Keeps a verdict on every target. Use it from one event loop."""

    def __init__(
        self,
        probes: Mapping[HealthCheckMode, Probe],
        *,
        random: Random,
        on_change: Callable[[], None] = lambda: None,
        on_event: Callable[[HealthEvent], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_change` is called after the health or the weight of any target changed, `on_event` when one rose or fell.

        `sleep` takes seconds.
        """
        self._probes = probes
        self._random = random
        self.on_change = on_change
        self.on_event = on_event
        self._sleep = sleep
        self._targets: dict[TargetKey, Target] = {}
        self._tasks: dict[TargetKey, asyncio.Task[None]] = {}
        self._verdicts: dict[TargetKey, Verdict] = {}
        self._decided = asyncio.Condition()

    @property
    def verdicts(self) -> dict[TargetKey, Verdict]:
        """The verdict on every target; UNKNOWN before its first check has ended."""
        return {key: self._verdicts.get(key, Verdict()) for key in self._targets}

    def seed(self, verdicts: Mapping[TargetKey, Verdict]) -> None:
        """Take over saved verdicts, before the targets are set: each holds until a new check says otherwise."""
        self._verdicts.update(verdicts)

    def set_targets(self, targets: Iterable[Target]) -> frozenset[TargetKey]:
        """Check exactly these; returns those that are new and UNKNOWN. One that did not change goes on undisturbed.

        A target whose check changed keeps its verdict until the new check says otherwise; one whose address changed
        is another machine, and UNKNOWN.
        """
        wanted = {target.key: target for target in targets}
        for key in [key for key, target in self._targets.items() if wanted.get(key) != target]:
            moved = key not in wanted or wanted[key].address != self._targets[key].address
            self._drop(key, forget=moved)
        for key in [key for key in self._verdicts if key not in wanted]:
            del self._verdicts[key]
        new = [target for key, target in wanted.items() if key not in self._targets]
        for target in new:
            self._targets[target.key] = target
            self._tasks[target.key] = asyncio.create_task(self._watch(target), name=f"health-check-{target.address}")
        return frozenset(target.key for target in new if target.key not in self._verdicts)

    def _drop(self, key: TargetKey, *, forget: bool) -> None:
        self._tasks.pop(key).cancel()
        del self._targets[key]
        if forget:
            self._verdicts.pop(key, None)

    async def first_verdicts(self, keys: Set[TargetKey], limit: float) -> None:
        """Wait until none of these is UNKNOWN, at most as long as the slowest may take, and `limit` seconds.

        Those that warm up are not waited for.
        """
        keys = {key for key in keys if self._undecided(key) and not self._targets[key].health_check.warm_up}
        if not keys:
            return
        timeouts = [self._targets[key].health_check.timeout for key in keys]
        try:
            async with asyncio.timeout(min(limit, max(timeouts))), self._decided:
                await self._decided.wait_for(lambda: not any(self._undecided(key) for key in keys))
        except TimeoutError:
            return

    def _undecided(self, key: TargetKey) -> bool:
        return key in self._targets and key not in self._verdicts

    async def close(self) -> None:
        """Stop every check and wait until it has stopped."""
        tasks = list(self._tasks.values())
        for key in list(self._tasks):
            self._drop(key, forget=False)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, target: Target) -> None:
        check = target.health_check
        if check.warm_up:
            await self._sleep(self._random.uniform(0, check.warm_up))
        if target.key not in self._verdicts:
            await self._record(target)
        await self._sleep(self._random.uniform(0, check.interval))
        while True:
            begun = asyncio.get_running_loop().time()
            await self._record(target)
            elapsed = asyncio.get_running_loop().time() - begun
            await self._sleep(max(0.0, pause(self._verdicts[target.key], check) - elapsed))

    async def _record(self, target: Target) -> None:
        result = await self._check(target)
        before = self._verdicts.get(target.key, Verdict())
        after = judge(before, result, target.health_check.retries, target.health_check.rise)
        self._verdicts[target.key] = after
        if after.health is not before.health:
            await self._tell(target, after)
        if (after.health, after.weight) != (before.health, before.weight):
            self.on_change()

    async def _tell(self, target: Target, after: Verdict) -> None:
        log.info(
            "health changed",
            service=str(target.key.service_id),
            instance=str(target.key.instance_id),
            address=str(target.address),
            health=after.health.value,
            message=after.message,
        )
        async with self._decided:
            self._decided.notify_all()
        self.on_event(
            HealthEvent("backend", target.key.service_id, target.address, target.health_check.port, after.is_up)
        )

    async def _check(self, target: Target) -> ProbeResult:
        timeout = target.health_check.timeout
        try:
            async with asyncio.timeout(timeout):
                return await self._probes[target.health_check.mode].check(target.address, target.health_check)
        except TimeoutError:
            return ProbeResult(False, f"no answer within {timeout} s")
        except Exception as error:  # noqa: BLE001  a probe's own fault must not end the watch; it counts as a failure
            return ProbeResult(False, f"{type(error).__name__}: {error}")

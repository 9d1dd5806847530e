"""The runner: which targets are checked, and which verdicts survive a change."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random
from uuid import UUID

from bascule.healthchecks.fake import FakeProbe
from bascule.healthchecks.interface import Target, TargetKey
from bascule.healthchecks.runner import HealthCheckRunner
from bascule.healthchecks.verdict import Verdict
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode

A, B = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
SERVICE = UUID(int=1)


class Clock:
    """Every watch sleeps here until the test lets one interval pass."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._tick = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._tick.wait()

    async def tick(self) -> None:
        """Wake all sleepers once and let them run until they sleep again."""
        tick, self._tick = self._tick, asyncio.Event()
        tick.set()
        for _ in range(20):
            await asyncio.sleep(0)


class Stage:
    """A runner over a fake probe and a clock in the test's hand."""

    def __init__(self) -> None:
        self.probe, self.clock, self.changes = FakeProbe(), Clock(), 0
        probes = {HealthCheckMode.TCP: self.probe}
        self.runner = HealthCheckRunner(probes, random=Random(7), sleep=self.clock.sleep, on_change=self.count)

    def count(self) -> None:
        self.changes += 1

    def health(self) -> dict[int, Health]:
        """The verdicts by the instance's number."""
        return {key.instance_id.int: verdict.health for key, verdict in self.runner.verdicts.items()}

    async def first_verdicts(self, limit: float) -> None:
        """Wait for all of them."""
        await self.runner.first_verdicts(self.runner.verdicts.keys(), limit)

    def play(self, scene: Coroutine[None, None, None]) -> None:
        """Run the scene, then close."""

        async def whole() -> None:
            try:
                await scene
            finally:
                await self.runner.close()

        asyncio.run(whole())


def target(number: int, address: IPv4Address, *, port: int = 80, timeout: int = 5, retries: int = 1) -> Target:
    check = HealthCheck(mode=HealthCheckMode.TCP, port=port, timeout=timeout, retries=retries)
    return Target(key=TargetKey(SERVICE, UUID(int=number)), address=address, health_check=check)


def test_new_targets_are_judged_at_once() -> None:
    """A new target is checked without waiting for its interval, and the change is told."""
    stage = Stage()
    stage.probe.down = {B}

    async def scene() -> None:
        stage.runner.set_targets([target(1, A), target(2, B)])
        assert stage.health() == {1: Health.UNKNOWN, 2: Health.UNKNOWN}
        await stage.first_verdicts(3)
        assert stage.health() == {1: Health.SUCCESS, 2: Health.FAILURE}
        assert stage.changes == 2

    stage.play(scene())


def test_a_failing_target_falls_after_its_retries_and_rises_again() -> None:
    """The verdict follows the instance down and up, told once each way."""
    stage = Stage()

    async def scene() -> None:
        stage.runner.set_targets([target(1, A)])
        await stage.first_verdicts(3)
        stage.probe.down = {A}
        await stage.clock.tick()
        assert stage.health() == {1: Health.SUCCESS}
        await stage.clock.tick()
        assert stage.health() == {1: Health.FAILURE}
        stage.probe.down = set()
        await stage.clock.tick()
        assert stage.health() == {1: Health.SUCCESS}
        assert stage.changes == 3

    stage.play(scene())


def test_a_change_of_one_target_leaves_the_others_alone() -> None:
    """Adding, removing and changing targets neither forgets nor repeats the checks of those that stay."""
    stage = Stage()

    async def scene() -> None:
        stage.runner.set_targets([target(1, A), target(2, B)])
        await stage.first_verdicts(3)
        assert stage.runner.set_targets([target(1, A), target(3, B)]) == {target(3, B).key}
        assert stage.health() == {1: Health.SUCCESS, 3: Health.UNKNOWN}
        await stage.first_verdicts(3)
        assert stage.probe.checks.count(A) == 1

    stage.play(scene())


def test_a_changed_check_keeps_the_verdict_but_a_changed_address_does_not() -> None:
    """The same machine stays healthy until its new check fails; another machine must earn its verdict."""
    stage = Stage()

    async def scene() -> None:
        stage.runner.set_targets([target(1, A)])
        await stage.first_verdicts(3)
        stage.runner.set_targets([target(1, A, port=81)])
        assert stage.health() == {1: Health.SUCCESS}
        stage.runner.set_targets([target(1, B, port=81)])
        assert stage.health() == {1: Health.UNKNOWN}

    stage.play(scene())


def test_a_saved_verdict_holds_until_a_check_says_otherwise() -> None:
    """After a restart a saved success outlives one failed check, as it would have without the restart."""
    stage = Stage()
    stage.probe.down = {A}

    async def scene() -> None:
        key = target(1, A).key
        stage.runner.seed({key: Verdict(Health.SUCCESS)})
        stage.runner.set_targets([target(1, A)])
        assert stage.health() == {1: Health.SUCCESS}
        await stage.clock.tick()
        await stage.clock.tick()
        assert stage.health() == {1: Health.SUCCESS}
        await stage.clock.tick()
        assert stage.health() == {1: Health.FAILURE}

    stage.play(scene())


def test_phases_are_spread_over_the_interval() -> None:
    """Targets that come together are not checked together for ever."""
    stage = Stage()

    async def scene() -> None:
        stage.runner.set_targets([target(number, IPv4Address(number)) for number in range(1, 21)])
        await stage.first_verdicts(3)
        await stage.clock.tick()
        phases = stage.clock.asked[:20]
        assert len(set(phases)) == 20
        assert max(phases) - min(phases) > 5
        assert all(0 <= phase <= 10 for phase in phases)

    stage.play(scene())


def test_a_silent_target_fails_when_its_timeout_is_over() -> None:
    """No answer is a failure, in words that tell how long was waited."""
    stage = Stage()
    stage.probe.silent = {A}

    async def scene() -> None:
        stage.runner.set_targets([target(1, A, timeout=1)])
        await stage.first_verdicts(3)
        (verdict,) = stage.runner.verdicts.values()
        while verdict.health is Health.UNKNOWN:
            await asyncio.sleep(0.01)
            (verdict,) = stage.runner.verdicts.values()
        assert verdict.message == "no answer within 1 s"

    stage.play(scene())


def test_waiting_for_first_verdicts_is_bounded() -> None:
    """A silent instance with a long timeout does not hold up a command longer than the limit."""
    stage = Stage()
    stage.probe.silent = {A}

    async def scene() -> None:
        stage.runner.set_targets([target(1, A, timeout=60)])
        begun = asyncio.get_running_loop().time()
        await stage.first_verdicts(0.1)
        assert asyncio.get_running_loop().time() - begun < 5
        assert stage.health() == {1: Health.UNKNOWN}

    stage.play(scene())


def test_an_instance_in_doubt_is_checked_again_soon() -> None:
    """After a failure that is tolerated the next check comes at the retry interval, and the event after the last."""
    stage = Stage()
    events: list[bool] = []
    stage.runner.on_event = lambda event: events.append(event.up)
    wanted = target(1, A)
    wanted = replace(wanted, health_check=replace(wanted.health_check, retry_interval=3))

    async def scene() -> None:
        stage.runner.set_targets([wanted])
        await stage.first_verdicts(3)
        stage.probe.down = {A}
        await stage.clock.tick()
        assert 2 < stage.clock.asked[-1] <= 3
        await stage.clock.tick()
        assert 9 < stage.clock.asked[-1] <= 10
        assert events == [True, False]

    stage.play(scene())


def test_a_check_that_warms_up_waits_first() -> None:
    """New targets are checked after a random part of their warm-up, and no command waits for them."""
    stage = Stage()

    async def scene() -> None:
        targets = [target(number, IPv4Address(number)) for number in range(1, 11)]
        stage.runner.set_targets(
            replace(each, health_check=replace(each.health_check, warm_up=60, timeout=5)) for each in targets
        )
        await stage.first_verdicts(1000)
        await stage.clock.tick()  # every watch has begun
        await stage.clock.tick()
        waits = stage.clock.asked[:10]
        assert len(set(waits)) == 10
        assert max(waits) > 10
        assert set(stage.health().values()) == {Health.SUCCESS}

    stage.play(scene())


def test_a_changed_weight_is_told_without_an_event() -> None:
    """The pass must follow a weight, though the instance neither rose nor fell."""
    stage = Stage()
    events: list[bool] = []
    stage.runner.on_event = lambda event: events.append(event.up)

    async def scene() -> None:
        stage.runner.set_targets([target(1, A)])
        await stage.first_verdicts(3)
        assert stage.changes == 1
        stage.probe.weights[A] = 50
        await stage.clock.tick()
        await stage.clock.tick()
        assert stage.changes == 2
        assert [verdict.weight for verdict in stage.runner.verdicts.values()] == [50]
        assert events == [True]

    stage.play(scene())

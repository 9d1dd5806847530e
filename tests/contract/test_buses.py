"""What every bus promises, held against the one in memory and against a real broker that speaks Kafka's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, TypeAdapter

from bascule.clock import SystemClock
from bascule.events.in_process import InProcessBus
from bascule.events.interface import Bus, Topic
from bascule.events.kafka import KafkaBus, KafkaOptions
from bascule.events.metrics import EventCounters
from bascule.model.errors import InvalidInput, Unavailable
from tests.contract.kafka_broker import Broker, broker

WITHIN = 60.0  # seconds: a broker waits a while for others before it gives a group its partitions


class Word(BaseModel):
    """A message."""

    key: str
    number: int


class ImpatientClock(SystemClock):
    """Real time, but pauses between attempts are short."""

    async def sleep(self, seconds: float) -> None:
        """Wait a little."""
        await super().sleep(min(seconds, 0.02))


@dataclass
class Heard:
    """What a handler got, and what it does with the next messages."""

    messages: list[Word] = field(default_factory=list)
    refuse: Callable[[Word], None] = lambda _word: None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, word: Word) -> None:
        """Refuse, or keep."""
        self.refuse(word)
        self.messages.append(word)
        self.changed.set()

    async def until(self, count: int) -> None:
        """Wait for so many messages."""
        async with asyncio.timeout(WITHIN):
            while len(self.messages) < count:
                self.changed.clear()
                await self.changed.wait()

    def of(self, key: str) -> list[int]:
        """The numbers under one key, in their order."""
        return [word.number for word in self.messages if word.key == key]


@dataclass
class Installation:
    """A topic of its own, buses onto it, and counters."""

    topic: Topic[Word]
    new_bus: Callable[[], Bus]
    dead_letters: Callable[[Bus, int], Awaitable[list[tuple[str, str]]]]
    registry: CollectorRegistry

    def counted(self, name: str) -> float:
        """A counter of this topic."""
        return self.registry.get_sample_value(f"bascule_events_{name}_total", {"topic": self.topic.name}) or 0.0


@pytest.fixture(scope="module")
def kafka() -> Iterator[Broker]:
    """One broker for the tests that leave it alive."""
    with broker() as made:
        yield made


@pytest.fixture(params=["in-process", "kafka"])
def installation(request: pytest.FixtureRequest) -> Installation:
    """Each bus in turn."""
    if request.param == "kafka":
        return on_kafka(request.getfixturevalue("kafka"))
    registry = CollectorRegistry()
    bus = InProcessBus(clock=ImpatientClock(), counters=EventCounters(registry))
    topic = Topic("words", TypeAdapter(Word))

    async def dead_letters(_bus: Bus, _count: int) -> list[tuple[str, str]]:
        return [(dead.key, dead.reason) for dead in bus.dead(topic)]

    return Installation(topic, lambda: bus, dead_letters, registry)


def on_kafka(made: Broker) -> Installation:
    """A topic and a group of its own on this broker."""
    registry = CollectorRegistry()
    counters = EventCounters(registry)
    topic = Topic(f"words-{uuid4()}", TypeAdapter(Word))
    options = KafkaOptions(servers=(made.server,), group=f"group-{uuid4()}", partitions=3, session_timeout=5.0)

    async def dead_letters(_bus: Bus, count: int) -> list[tuple[str, str]]:
        consumer = AIOKafkaConsumer(topic.dead, bootstrap_servers=made.server, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with asyncio.timeout(WITHIN):
                found = [await consumer.getone() for _ in range(count)]
        finally:
            await consumer.stop()
        return [(record.key.decode(), dict(record.headers)["reason"].decode()) for record in found]

    return Installation(
        topic, lambda: KafkaBus(options, clock=ImpatientClock(), counters=counters), dead_letters, registry
    )


@asynccontextmanager
async def consuming(bus: Bus, topic: Topic[Word], heard: Heard) -> AsyncIterator[None]:
    """A consumer that is stopped at the end, as a process that is told to stop."""
    task = asyncio.ensure_future(bus.consume(topic, heard.handle))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def opened(installation: Installation) -> AsyncIterator[Bus]:
    """A bus that is closed at the end."""
    bus = installation.new_bus()
    try:
        yield bus
    finally:
        await bus.close()


async def publish(bus: Bus, topic: Topic[Word], *words: tuple[str, int]) -> None:
    """In this order."""
    for key, number in words:
        await bus.publish(topic, key, Word(key=key, number=number))


async def test_messages_of_one_key_keep_their_order(installation: Installation) -> None:
    """Every message is handled, those of one key in the order in which they were published."""
    heard = Heard()
    async with opened(installation) as bus:
        for number in range(20):
            await publish(bus, installation.topic, ("a", number), ("b", number), ("c", number))
        async with consuming(bus, installation.topic, heard):
            await heard.until(60)
    assert [heard.of(key) for key in "abc"] == [list(range(20))] * 3
    assert installation.counted("handled") == 60


async def test_poison_is_set_aside_with_its_reason_and_blocks_nobody(installation: Installation) -> None:
    """A message that is refused, or that breaks the handler, is kept with the reason; the next ones are handled."""
    heard = Heard()

    def refuse(word: Word) -> None:
        if word.number == 1:
            raise InvalidInput("There is no pool 'x': create it.")
        if word.number == 2:
            raise ZeroDivisionError("by zero")

    heard.refuse = refuse
    async with opened(installation) as bus:
        await publish(bus, installation.topic, *(("a", number) for number in range(4)))
        async with consuming(bus, installation.topic, heard):
            await heard.until(2)
        assert heard.of("a") == [0, 3]
        assert await installation.dead_letters(bus, 2) == [
            ("a", "There is no pool 'x': create it."),
            ("a", "ZeroDivisionError: by zero"),
        ]
    assert installation.counted("set_aside") == 2


async def test_what_waits_for_the_database_is_tried_again_in_its_place(installation: Installation) -> None:
    """While something is away a message is neither lost nor overtaken by the next one of its key."""
    heard, failures = Heard(), iter(range(3))

    def refuse(_word: Word) -> None:
        if next(failures, None) is not None:
            raise Unavailable("The database does not answer.")

    heard.refuse = refuse
    async with opened(installation) as bus:
        await publish(bus, installation.topic, ("a", 1), ("a", 2))
        async with consuming(bus, installation.topic, heard):
            await heard.until(2)
    assert heard.of("a") == [1, 2]
    assert installation.counted("retried") == 3
    assert installation.counted("set_aside") == 0


async def test_a_consumer_that_comes_back_goes_on_where_it_stopped(installation: Installation) -> None:
    """What was published meanwhile is handled; what was handled before is not lost, and seen twice at most once."""
    first, second = Heard(), Heard()
    async with opened(installation) as bus:
        await publish(bus, installation.topic, ("a", 1), ("a", 2))
        async with consuming(bus, installation.topic, first):
            await first.until(2)
        await publish(bus, installation.topic, ("a", 3), ("a", 4))
    async with opened(installation) as bus, consuming(bus, installation.topic, second):
        await second.until(2)
        async with asyncio.timeout(WITHIN):
            while second.of("a")[-1] != 4:
                await second.until(len(second.messages) + 1)
    # The process may have ended between the handler and the acknowledgement.
    assert second.of("a") in ([3, 4], [2, 3, 4])


async def test_a_consumer_that_dies_at_work_leaves_its_message_to_the_next(installation: Installation) -> None:
    """A message whose handler did not return is handled by the next consumer."""
    begun = asyncio.Event()

    async def never(_word: Word) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with opened(installation) as bus:
        await publish(bus, installation.topic, ("a", 1))
        task = asyncio.ensure_future(bus.consume(installation.topic, never))
        async with asyncio.timeout(WITHIN):
            await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        heard = Heard()
        async with consuming(bus, installation.topic, heard):
            await heard.until(1)
    assert heard.of("a") == [1]


async def test_bytes_that_are_no_message_are_set_aside(kafka: Broker) -> None:
    """Whatever stands in the topic, the consumer names the wrong field and goes on."""
    installation, heard = on_kafka(kafka), Heard()
    raw = AIOKafkaProducer(bootstrap_servers=kafka.server)
    await raw.start()
    async with opened(installation) as bus:
        async with consuming(bus, installation.topic, heard):
            await publish(bus, installation.topic, ("a", 1))
            await heard.until(1)  # the topic is made by now
            for value in (b"\xff no json", b'{"key": "a"}', None):
                await raw.send_and_wait(installation.topic.name, value=value, key=b"a")
            await publish(bus, installation.topic, ("a", 2))
            await heard.until(2)
        reasons = [reason for _, reason in await installation.dead_letters(bus, 3)]
    await raw.stop()
    assert reasons[0].startswith("message: Invalid JSON")
    assert reasons[1].startswith("number: Field required")
    assert reasons[2].startswith("message: Invalid JSON")


async def publish_until_heard(bus: Bus, topic: Topic[Word], heard: Heard, first: int) -> None:
    """Publish numbers from the first on, as a sender that does not give up, until one of them is handled."""
    number = first
    async with asyncio.timeout(WITHIN):
        while not any(found >= first for found in heard.of("a")):
            with suppress(Unavailable):
                await publish(bus, topic, ("a", number))
                number += 1
            heard.changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(heard.changed.wait(), 1.0)


@pytest.mark.slow
async def test_a_broker_that_is_restarted_is_waited_for() -> None:
    """Publishing says so while it is away; a consumer goes on by itself when it is back.

    This broker comes back with nothing: what it gets before its log is as long as the old one may count as handled.
    """
    heard = Heard()
    with broker() as made:
        installation = on_kafka(made)
        async with opened(installation) as bus, consuming(bus, installation.topic, heard):
            await publish(bus, installation.topic, ("a", 1))
            await heard.until(1)
            made.kill()
            with pytest.raises(Unavailable, match="Kafka does not take the message"):
                await publish(bus, installation.topic, ("a", 2))
            made.start()
            await publish_until_heard(bus, installation.topic, heard, 3)


async def test_a_broker_that_is_not_there_yet_is_waited_for() -> None:
    """A process that starts before the broker consumes once it answers."""
    heard = Heard()
    with broker() as made:
        made.kill()
        installation = on_kafka(made)
        async with opened(installation) as bus, consuming(bus, installation.topic, heard):
            with pytest.raises(Unavailable):
                await publish(bus, installation.topic, ("a", 1))
            made.start()
            await publish_until_heard(bus, installation.topic, heard, 2)
    assert heard.of("a")[0] == 2

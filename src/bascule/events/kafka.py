"""The bus of many machines: Kafka, through aiokafka.

A key has one partition and a partition one consumer of the group at a time, so messages of one key keep their order.
The offset is committed after the handler returned: a process that dies, or loses its partition, leaves the message to
the next one, which may see it a second time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from bascule.clock import Clock
from bascule.events.delivery import PAUSE, Delivery, decode
from bascule.events.interface import Topic
from bascule.events.metrics import EventCounters
from bascule.model.errors import Unavailable

T = TypeVar("T")
_REASON_MAX = 1000  # characters
_EXISTS = 36  # Kafka's protocol: TOPIC_ALREADY_EXISTS

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """How to reach the brokers; words as in aiokafka. `session_timeout` is seconds.

    Topics that do not exist are made, with so many `partitions` and `replicas`.
    """

    servers: tuple[str, ...]
    group: str = "bascule"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    partitions: int = 6
    replicas: int = 1
    session_timeout: float = 10.0

    def of_clients(self) -> dict[str, Any]:
        """Arguments of every client."""
        encrypted = self.security_protocol.endswith("SSL")
        return {
            "bootstrap_servers": list(self.servers),
            "security_protocol": self.security_protocol,
            "ssl_context": ssl.create_default_context(cafile=self.ca_file) if encrypted else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
            "request_timeout_ms": 10_000,
        }


class KafkaBus:
    """Implements `bascule.events.interface.Bus`. A broker that is away is waited for."""

    def __init__(self, options: KafkaOptions, *, clock: Clock, counters: EventCounters) -> None:
        self._options, self._clock = options, clock
        self._delivery = Delivery(clock, counters)
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._making = asyncio.Lock()
        self._made: set[str] = set()

    async def publish(self, topic: Topic[T], key: str, message: T) -> None:
        """Returns when every replica in sync has it. Raises Unavailable."""
        try:
            await self._make(topic)
            await self._send(topic.name, key.encode(), topic.kind.dump_json(message, by_alias=True), [])
        except KafkaError as error:
            # A broker that lost the topic does not make it again by itself.
            self._made.discard(topic.name)
            raise Unavailable(f"Kafka does not take the message ({error}): see whether its brokers run.") from error

    async def consume(self, topic: Topic[T], handle: Callable[[T], Awaitable[None]]) -> None:
        """Handle messages until cancelled; begins anew after whatever Kafka refuses."""
        while True:
            try:
                await self._make(topic)
                await self._consume(topic, handle)
            except KafkaError as error:
                self._made.discard(topic.name)
                log.warning("kafka does not serve us", topic=topic.name, error=str(error))
                await self._clock.sleep(PAUSE)

    async def close(self) -> None:
        """Let go of the producer."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def _consume(self, topic: Topic[T], handle: Callable[[T], Awaitable[None]]) -> None:
        consumer = AIOKafkaConsumer(
            topic.name,
            group_id=self._options.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=round(self._options.session_timeout * 1000),
            heartbeat_interval_ms=round(self._options.session_timeout * 1000 / 3),
            **self._options.of_clients(),
        )
        try:
            await consumer.start()
            while True:
                record = await consumer.getone()
                await self._process(topic, record, handle)
                await consumer.commit({_partition(record): record.offset + 1})
        finally:
            with suppress(KafkaError):
                await consumer.stop()

    async def _process(
        self, topic: Topic[T], record: ConsumerRecord[bytes, bytes], handle: Callable[[T], Awaitable[None]]
    ) -> None:
        key = (record.key or b"").decode(errors="replace")

        async def attempt() -> None:
            await handle(decode(topic, record.value))

        reason = await self._delivery.deliver(topic.name, key, attempt)
        if reason is None:
            return
        headers = [
            ("reason", reason[:_REASON_MAX].encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
        ]
        await self._send(topic.dead, record.key, record.value, headers)
        self._delivery.set_aside(topic.name, key, reason)

    async def _send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        producer = await self._started()
        await producer.send_and_wait(topic, value=value, key=key, headers=headers)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(acks="all", **self._options.of_clients())
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _make(self, topic: Topic[T]) -> None:
        """Once per process: a broker that is told to make topics by itself would choose their size."""
        async with self._making:
            if topic.name not in self._made:
                await self._make_now(topic)
                self._made.add(topic.name)

    async def _make_now(self, topic: Topic[T]) -> None:
        admin = AIOKafkaAdminClient(**self._options.of_clients())
        wanted = [NewTopic(name, self._options.partitions, self._options.replicas) for name in (topic.name, topic.dead)]
        try:
            await admin.start()
            answer = await admin.create_topics(wanted)
            for name, code, *words in answer.topic_errors:
                if code not in {0, _EXISTS}:
                    log.warning("kafka does not make the topic", topic=name, code=code, words=words)
        finally:
            await admin.close()


def _partition(record: ConsumerRecord[bytes, bytes]) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)

"""The bus between machines, as the settings of any process describe it."""

from __future__ import annotations

from bascule.clock import Clock
from bascule.events.interface import Bus
from bascule.events.metrics import EventCounters
from bascule.model.errors import InvalidInput
from bascule.programs.settings import KafkaSettings


def kafka(settings: KafkaSettings, clock: Clock, counters: EventCounters, *, group: str = "") -> Bus:
    """Raises InvalidInput when the settings name brokers and their client is not installed.

    `group` is the one to consume in, for those who consume.
    """
    try:
        # Only here: an installation without Kafka needs no client for it.
        from bascule.events.kafka import KafkaBus, KafkaOptions  # noqa: PLC0415
    except ImportError as error:
        raise InvalidInput(
            "BASCULE_KAFKA_SERVERS is set and aiokafka is not installed: pip install 'bascule[kafka]'.",
            field="BASCULE_KAFKA_SERVERS",
        ) from error
    options = KafkaOptions(
        servers=settings.kafka_servers,
        group=group,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password,
        ca_file=settings.kafka_ca_file,
        partitions=settings.kafka_partitions,
        replicas=settings.kafka_replicas,
    )
    return KafkaBus(options, clock=clock, counters=counters)

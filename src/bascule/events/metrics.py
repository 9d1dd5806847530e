"""Counters of messages, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class EventCounters:
    """One line for each topic and what became of its messages. Their names begin with the application's."""

    def __init__(self, registry: CollectorRegistry, application: str = "bascule") -> None:
        self._handled = Counter(f"{application}_events_handled", "Messages handled.", ["topic"], registry=registry)
        self._set_aside = Counter(
            f"{application}_events_set_aside",
            "Messages set aside because they cannot be handled.",
            ["topic"],
            registry=registry,
        )
        self._retried = Counter(
            f"{application}_events_retried",
            "Attempts that failed because something was away.",
            ["topic"],
            registry=registry,
        )

    def handled(self, topic: str) -> None:
        """One more."""
        self._handled.labels(topic).inc()

    def set_aside(self, topic: str) -> None:
        """One more."""
        self._set_aside.labels(topic).inc()

    def retried(self, topic: str) -> None:
        """One more."""
        self._retried.labels(topic).inc()

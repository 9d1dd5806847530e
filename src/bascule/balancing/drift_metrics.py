"""Numbers of drift, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from bascule.balancing.audit import DriftKind


class DriftMetrics:
    """One line for each kind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lasting = Gauge(
            "bascule_drift_findings", "Differences from the expected state that last.", ["kind"], registry=registry
        )
        self._found = Counter("bascule_drift_found", "Differences found.", ["kind"], registry=registry)
        self._resolved = Counter("bascule_drift_resolved", "Differences that are over.", ["kind"], registry=registry)
        self._quarantined = Gauge(
            "bascule_drift_quarantined",
            "Load balancers on nodes for which drift asks for no reconciliation.",
            registry=registry,
        )
        for kind in DriftKind:
            for metric in (self._lasting, self._found, self._resolved):
                metric.labels(kind)

    def last(self, counts: Mapping[DriftKind, int]) -> None:
        """So many last now."""
        for kind in DriftKind:
            self._lasting.labels(kind).set(counts.get(kind, 0))

    def quarantined(self, count: int) -> None:
        """So many are quarantined now."""
        self._quarantined.set(count)

    def changed(self, found: Iterable[DriftKind], resolved: Iterable[DriftKind]) -> None:
        """These are new, and these are over."""
        for kind in found:
            self._found.labels(kind).inc()
        for kind in resolved:
            self._resolved.labels(kind).inc()

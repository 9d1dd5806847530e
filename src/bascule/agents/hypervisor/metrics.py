"""The hypervisor agent's report as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bascule.model.reports import HypervisorReport


class HypervisorMetrics(Collector):
    """Reads a fresh report at each scrape."""

    def __init__(self, report: Callable[[], HypervisorReport]) -> None:
        self._report = report

    def describe(self) -> list[Metric]:
        """Nothing in advance: registering must not ask an agent that has not started."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics of the hypervisor."""
        report = self._report()
        yield GaugeMetricFamily("bascule_problems", "Problems of this node.", value=len(report.problems))
        yield CounterMetricFamily("bascule_repairs", "Drift that was put right.", value=report.repairs)
        rules = sum(len(each.rules) for each in report.load_balancers)
        yield GaugeMetricFamily("bascule_forwarding_rules", "Rules that should be in force.", value=rules)
        instances = len(report.forwarding.instances)
        yield GaugeMetricFamily("bascule_instances", "Tunnel endpoints in place.", value=instances)
        fates = CounterMetricFamily("bascule_forwarding_packets", "Packets by their fate.", labels=["fate"])
        for fate, count in report.forwarding.counters.items():
            fates.add_metric([fate], count)
        yield fates

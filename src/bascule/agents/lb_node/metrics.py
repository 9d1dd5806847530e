"""The LB agent's report as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bascule.model.health_checks import Health
from bascule.model.reports import LBNodeReport, VirtualServiceReport


class LBNodeMetrics(Collector):
    """Reads a fresh report at each scrape."""

    def __init__(self, report: Callable[[], LBNodeReport]) -> None:
        self._report = report

    def describe(self) -> list[Metric]:
        """Nothing in advance: registering must not ask an agent that has not started."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics of the node."""
        report = self._report()
        yield GaugeMetricFamily("bascule_problems", "Problems of this node.", value=len(report.problems))
        yield CounterMetricFamily("bascule_repairs", "Drift that was put right.", value=report.repairs)
        fates = CounterMetricFamily("bascule_data_plane_packets", "Packets by their fate.", labels=["fate"])
        for fate, count in report.data_plane.counters.items():
            fates.add_metric([fate], count)
        yield fates
        sessions = GaugeMetricFamily("bascule_session_up", "1 while the session is established.", labels=["neighbor"])
        watched = GaugeMetricFamily("bascule_bfd_up", "1 while BFD watches over the session.", labels=["neighbor"])
        for session in report.announcer.sessions:
            sessions.add_metric([str(session.neighbor)], session.up)
            watched.add_metric([str(session.neighbor)], session.bfd)
        yield sessions
        yield watched
        yield _vrrp(report)
        yield from _balancers(report)
        yield from _services(report.data_plane.services)


def _vrrp(report: LBNodeReport) -> Metric:
    states = GaugeMetricFamily(
        "bascule_vrrp_state", "1 for the state that an address is in.", labels=["address", "router_id", "state"]
    )
    for each in report.announcer.vrrp:
        for state in ("MASTER", "BACKUP", "FAULT", "INIT"):
            states.add_metric([str(each.address), str(each.router_id), state.lower()], each.state == state)
    return states


def _balancers(report: LBNodeReport) -> Iterator[Metric]:
    labels = ["load_balancer", "address"]
    ready = GaugeMetricFamily("bascule_load_balancer_ready", "1 while every service is in place.", labels=labels)
    announced = GaugeMetricFamily("bascule_load_balancer_announced", "1 while it draws traffic.", labels=labels)
    health = GaugeMetricFamily(
        "bascule_backends", "Backends by verdict.", labels=["load_balancer", "service", "health"]
    )
    for each in report.load_balancers:
        names = [str(each.configuration.load_balancer_id), str(each.configuration.address)]
        ready.add_metric(names, each.ready)
        announced.add_metric(names, each.announced)
        for service in each.configuration.services:
            verdicts = [backend.health for backend in each.health if backend.service_id == service.id]
            for verdict in Health:
                health.add_metric([names[0], str(service.id), verdict.value], verdicts.count(verdict))
    yield from (ready, announced, health)


def _services(services: tuple[VirtualServiceReport, ...]) -> Iterator[Metric]:
    labels = ["address", "protocol", "port"]
    packets = CounterMetricFamily("bascule_service_packets", "Packets of a service.", labels=labels)
    octets = CounterMetricFamily("bascule_service_bytes", "Bytes of a service.", labels=labels)
    for service in services:
        names = [str(service.key.address), service.key.protocol.value, str(service.key.port)]
        packets.add_metric(names, service.traffic.packets)
        octets.add_metric(names, service.traffic.bytes)
    yield from (packets, octets)

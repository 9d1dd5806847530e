"""How an agent publishes its reports, when its settings name a bus."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry

from bascule.agents.publisher import ReportPublisher
from bascule.clock import SystemClock
from bascule.events.agent_reports import AGENT_REPORTS
from bascule.events.metrics import EventCounters
from bascule.programs.buses import kafka
from bascule.programs.settings import AgentSettings


def publisher(settings: AgentSettings) -> ReportPublisher | None:
    """None without brokers. Raises InvalidInput when their client is not installed."""
    if not settings.kafka_servers:
        return None
    return ReportPublisher(
        kafka(settings, SystemClock(), EventCounters(CollectorRegistry())),
        replace(AGENT_REPORTS, name=settings.kafka_reports_topic),
        node=settings.registered_name or settings.node_name,
        token=settings.agent_token,
        every=settings.report_interval,
    )

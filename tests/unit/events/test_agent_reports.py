"""Reports that agents publish: what travels, and whose it is."""

from __future__ import annotations

import zlib
from base64 import b64encode
from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

import pytest

from bascule.events.agent_reports import AGENT_REPORTS, AgentKind, AgentReport, Report, opened, sealed
from bascule.model.configurations import ForwardingConfiguration, ForwardingRule, Version
from bascule.model.errors import Forbidden, InvalidInput
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport
from bascule.model.strategies import Protocol
from tests.unit.agents.builders import backend, balancer, service

TOKEN = "a token for tests only"
RULE = ForwardingRule(
    protocol=Protocol.TCP, port=80, instance=IPv4Address("10.0.0.1"), target_port=8080, address=IPv4Address("192.0.2.1")
)
LB_NODE = LBNodeReport(
    node="lb1",
    started_at=1.0,
    load_balancers=(BalancerReport(configuration=balancer(service(backend(1))), ready=True, announced=True),),
)
HOST = HypervisorReport(
    node="hv1",
    started_at=1.0,
    load_balancers=(ForwardingConfiguration(load_balancer_id=UUID(int=1), version=Version(1, 1), rules=(RULE,)),),
)


def message(report: Report = HOST) -> AgentReport:
    """One that an agent sealed."""
    return sealed("node", TOKEN, report, at=1767225600.123456, every=60.0)


@pytest.mark.parametrize("report", [LB_NODE, HOST], ids=["lb-node", "hypervisor"])
def test_what_was_sealed_is_read_again(report: Report) -> None:
    """Over the wire and back, of either kind."""
    sent = AGENT_REPORTS.kind.dump_json(message(report))
    assert opened(AGENT_REPORTS.kind.validate_json(sent), TOKEN) == report


@pytest.mark.parametrize(
    "change",
    [
        {"node": "another"},
        {"kind": AgentKind.LB_NODE},
        {"at": 1767225600.2},
        {"every": 61.0},
        {"report": message(replace(HOST, problems=("none",))).report},
        {"signature": ""},
        {"signature": "é"},
    ],
    ids=str,
)
def test_nothing_of_it_can_be_changed(change: dict[str, object]) -> None:
    """Whoever it is from, what it is, when it was taken and what it says are all signed."""
    with pytest.raises(Forbidden, match="not signed by the agent of"):
        opened(replace(message(), **change), TOKEN)  # type: ignore[arg-type]


def test_another_nodes_token_does_not_do() -> None:
    """An agent cannot speak for another."""
    with pytest.raises(Forbidden):
        opened(message(), "the token of another")


@pytest.mark.parametrize(
    "report", ["no base64!", b64encode(b"not packed").decode(), b64encode(zlib.compress(b"{}")).decode()]
)
def test_what_cannot_be_read_is_refused(report: str) -> None:
    """Signed nonsense is InvalidInput, not a failure of ours."""
    odd = replace(message(), report=report, signature="")
    from bascule.events.agent_reports import _signature  # noqa: PLC0415

    with pytest.raises(InvalidInput, match="published something unknown"):
        opened(replace(odd, signature=_signature(odd, TOKEN)), TOKEN)

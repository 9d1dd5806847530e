"""Reports that agents publish by themselves: the message, and how it is proven whose it is. Pure.

    {"version": 1, "node": "lb1", "kind": "lb-node", "at": 1767225600.5, "every": 60.0,
     "report": "<base64>", "signature": "<hex>"}

`report` is what the agent answers to GET /v1/report, compressed (RFC 1950): brokers refuse messages over a megabyte.
The signature is HMAC-SHA256 (RFC 2104) by the agent's bearer token over all the rest: only its agent and the control
plane, which have a node's token, can speak for it, and nobody else can pass an old report off as a new one.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import zlib
from base64 import b64decode, b64encode
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from bascule.events.interface import Topic
from bascule.model.errors import Forbidden, InvalidInput
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.wire.agent_v1 import HYPERVISOR_REPORT, LB_NODE_REPORT
from bascule.wire.fields import Name

Report: TypeAlias = LBNodeReport | HypervisorReport
_LARGEST = 64 * 1024 * 1024  # bytes; a node of ten thousand services needs less
_EVERY_MOST = 86_400.0


class AgentKind(StrEnum):
    """Whose agent it is."""

    LB_NODE = "lb-node"
    HYPERVISOR = "hypervisor"


@dataclass(frozen=True, kw_only=True)
class AgentReport:
    """What travels. `at` is seconds since the epoch by the node's clock, `every` how many there are between two."""

    node: Name
    kind: AgentKind
    at: Annotated[float, Field(allow_inf_nan=False)]
    every: Annotated[float, Field(gt=0, le=_EVERY_MOST)]
    report: str
    signature: str = ""
    version: Literal[1] = 1


AGENT_REPORTS: Topic[AgentReport] = Topic("bascule.agent-reports", TypeAdapter(AgentReport))


def sealed(node: str, token: str, report: Report, *, at: float, every: float) -> AgentReport:
    """The message of a node that is registered under that name."""
    if isinstance(report, LBNodeReport):
        kind, text = AgentKind.LB_NODE, LB_NODE_REPORT.dump_json(report)
    else:
        kind, text = AgentKind.HYPERVISOR, HYPERVISOR_REPORT.dump_json(report)
    packed = b64encode(zlib.compress(text)).decode()
    unsigned = AgentReport(node=node, kind=kind, at=at, every=every, report=packed)
    return replace(unsigned, signature=_signature(unsigned, token))


def opened(message: AgentReport, token: str) -> Report:
    """What it says. Raises Forbidden when it is not signed by that token, InvalidInput when it cannot be read."""
    if not hmac.compare_digest(_signature(message, token).encode(), message.signature.encode()):
        raise Forbidden(
            f"The report is not signed by the agent of {message.kind} {message.node}: see who writes to this topic, and"
            " whether BASCULE_AGENT_TOKEN there is the token that the node was registered with."
        )
    kind: TypeAdapter[LBNodeReport] | TypeAdapter[HypervisorReport]
    kind = LB_NODE_REPORT if message.kind is AgentKind.LB_NODE else HYPERVISOR_REPORT
    try:
        return kind.validate_json(_unpacked(message.report))
    except ValueError as error:
        raise InvalidInput(f"{message.node} published something unknown ({error}): upgrade its agent.") from error


def _unpacked(text: str) -> bytes:
    """Raises ValueError. A node that was taken over may not fill our memory."""
    try:
        unpacker = zlib.decompressobj()
        found = unpacker.decompress(b64decode(text, validate=True), _LARGEST)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"over {_LARGEST} bytes")
    return found


def _signature(message: AgentReport, token: str) -> str:
    told = (message.version, message.node, message.kind.value, repr(message.at), repr(message.every), message.report)
    return hmac.new(token.encode(), "\n".join(map(str, told)).encode(), hashlib.sha256).hexdigest()

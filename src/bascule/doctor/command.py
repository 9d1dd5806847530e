"""`bascule doctor`: acts on this machine; the other commands reach the system through the API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bascule.doctor.capabilities import require_known
from bascule.doctor.diagnosis import diagnose, problems
from bascule.doctor.facts import Choice, Role
from bascule.doctor.findings import Finding, Level
from bascule.doctor.gather import gather
from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.errors import InvalidInput

_WIDTH_WITHOUT_TERMINAL = 160  # columns
_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def doctor(
    *,
    role: Annotated[list[Role] | None, typer.Option(help="What this machine is to be; both when left out.")] = None,
    interface: Annotated[
        list[str] | None, typer.Option(envvar="BASCULE_INTERFACES", help="LB node: where clients' packets arrive.")
    ] = None,
    uplink: Annotated[
        list[str] | None, typer.Option(envvar="BASCULE_UPLINKS", help="Hypervisor: where tunnels arrive.")
    ] = None,
    towards: Annotated[
        list[str] | None,
        typer.Option(help="Try how long packets to this hypervisor or LB node may be.", metavar="ADDRESS"),
    ] = None,
    instance: Annotated[
        list[str] | None, typer.Option(help="LB node: look up the way of tunnels to this instance.", metavar="ADDRESS")
    ] = None,
    dataplane: Annotated[str, typer.Option(envvar="BASCULE_DATAPLANE", help="The data plane to run.")] = "xdp",
    forwarding: Annotated[str, typer.Option(envvar="BASCULE_FORWARDING", help="The forwarding to run.")] = "ebpf",
    announcer: Annotated[str, typer.Option(envvar="BASCULE_ANNOUNCER", help="The announcer to run.")] = "bgp",
    tunnel_mtu: Annotated[
        int, typer.Option(envvar="BASCULE_TUNNEL_MTU", help="The longest packet in the tunnel, in bytes.")
    ] = 1480,
    tunnel_sources: Annotated[
        str, typer.Option(envvar="BASCULE_TUNNEL_SOURCES", help="Prefixes from which hypervisors accept tunnels.")
    ] = "10.99.0.0/16 fd00:ba5c:1::/64",
    output: Annotated[
        Output, typer.Option("--output", "-o", envvar="BASCULE_OUTPUT", help="How to print.")
    ] = Output.TABLE,
) -> None:
    """Say what this machine can run, what is in the way, and the command that mends it.

    Exit code 1 on problems. To ask with an agent's own settings: set -a; . /etc/bascule/lb-agent.env; bascule doctor
    --role lb-node.
    """
    choice = Choice(
        roles=frozenset(role or Role),
        dataplane=dataplane,
        forwarding=forwarding,
        announcer=announcer,
        interfaces=_words(interface),
        uplinks=_words(uplink),
        tunnel_mtu=tunnel_mtu,
        tunnel_sources=tuple(map(_prefix, _words([tunnel_sources]))),
    )
    require_known(choice)
    nodes, instances = (_addresses(given, option) for given, option in ((towards, "towards"), (instance, "instance")))
    findings = diagnose(gather(choice, nodes, instances), choice)
    if output is Output.JSON:
        sys.stdout.write(json.dumps([finding.model_dump(mode="json") for finding in findings], indent=2) + "\n")
    else:
        _print(findings)
    raise typer.Exit(1 if problems(findings) else 0)


def _words(values: Iterable[str] | None) -> tuple[str, ...]:
    """As the agents read their settings: separated by commas or spaces."""
    return tuple(word for value in values or () for word in value.replace(",", " ").split())


def _addresses(given: Iterable[str] | None, option: str) -> list[IPAddress]:
    return [_address(text, option) for text in given or ()]


def _address(text: str, option: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidInput(
            f"{text!r} is no address: write --{option} 192.0.2.20 or --{option} 2001:db8::20.", field=option
        ) from None


def _prefix(text: str) -> IPNetwork:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no prefix ({error}).", field="tunnel-sources") from None


def _print(findings: Iterable[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "WHAT", "FINDING", "FIX"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        level = Text(finding.level, style=_STYLES[finding.level])
        table.add_row(level, Text(finding.subject), Text(finding.sentence), Text(finding.fix))
    (Console() if sys.stdout.isatty() else Console(width=_WIDTH_WITHOUT_TERMINAL)).print(table)

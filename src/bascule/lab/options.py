"""Options that several commands of `bascule lab` share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bascule.lab.shape import AnnouncerName, DatabaseKind
from bascule.model.data_planes import DataPlaneName

Name = Annotated[str, typer.Option("--name", "-n", help="Which lab; several can live side by side.")]


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


class Forwarding(StrEnum):
    """The forwardings that a lab can run."""

    EBPF = "ebpf"
    NETFILTER = "netfilter"


DataPlane = Annotated[DataPlaneName, typer.Option(help="What the LB nodes run.")]
ForwardingOption = Annotated[
    Forwarding | None,
    typer.Option(help="What the hypervisors run: ebpf with xdp, else netfilter.", show_default=False),
]

Database = Annotated[DatabaseKind, typer.Option(help="Where the control plane keeps the expected state.")]
BfdOption = Annotated[str, typer.Option("--bfd", help="Pace of BFD: milliseconds, and packets that may be missed.")]
AnnouncerOption = Annotated[
    AnnouncerName, typer.Option("--announcer", help="What draws packets to them: bgp, or vrrp on one segment.")
]

CheckInterval = Annotated[
    int, typer.Option(min=1, max=60, help="Seconds between two health checks, and for their answers.")
]

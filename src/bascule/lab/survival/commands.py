"""`bascule lab survive`: what a fault costs, measured, beside what it may cost."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bascule.client.clients import AdminClient
from bascule.lab import life, state
from bascule.lab.control_plane import ControlPlane
from bascule.lab.options import (
    AnnouncerOption,
    BfdOption,
    CheckInterval,
    Database,
    DataPlane,
    ForwardingOption,
    Name,
    Output,
)
from bascule.lab.shape import USUAL_BFD, AnnouncerName, Bfd, DatabaseKind, Shape, usual_forwarding
from bascule.lab.state import Lab
from bascule.lab.survival import plot as plots
from bascule.lab.survival import report as reports
from bascule.lab.survival.catalogue import FAULTS, Fault, choose
from bascule.lab.survival.measure import Effort, Outcome, clearest, endure
from bascule.lab.survival.scene import set_scene
from bascule.model.data_planes import DataPlaneName
from bascule.model.errors import BasculeError, InvalidInput, SystemFailure

HELP = """Break one thing while hundreds of connections go on, and show what it cost beside what it may cost.

Uses the lab of that name, or builds one and takes it away again. Exits with 1 when a budget was missed."""
_FAULTS = "\n\n".join(f"{fault.name}: {fault.sentence}" for fault in FAULTS)
EPILOG = f"""Examples: bascule lab survive lb-node-dies; bascule lab survive --all --report docs/survival.md

The faults:

{_FAULTS}"""


def survive(
    *,
    names: Annotated[list[str] | None, typer.Argument(metavar="[FAULT]…", help="Which of those below.")] = None,
    name: Name = "survive",
    everything: Annotated[bool, typer.Option("--all", help="Every fault, one after the other.")] = False,
    connections: Annotated[int, typer.Option(min=1, help="TCP connections that are open all the time.")] = 500,
    udp: Annotated[int, typer.Option(min=0, help="UDP flows.")] = 200,
    interval: Annotated[int, typer.Option(min=10, help="Milliseconds between two heartbeats of a flow.")] = 50,
    rate: Annotated[float, typer.Option(min=0, help="New connections a second; each lives for five.")] = 20,
    after: Annotated[float, typer.Option(min=6, help="Seconds to watch after the fault.")] = 8,
    tries: Annotated[
        int, typer.Option(min=1, help="How often to measure, at most, while this machine's noise hides the silence.")
    ] = 1,
    dataplane: DataPlane = DataPlaneName.XDP,
    forwarding: ForwardingOption = None,
    check_interval: CheckInterval = 1,
    announcer: AnnouncerOption = AnnouncerName.BGP,
    ipv6: Annotated[bool, typer.Option("--ipv6", help="All flows over IPv6.")] = False,
    database: Database = DatabaseKind.SQLITE,
    database_away: Annotated[float, typer.Option(min=1, help="Seconds that the database is away when it goes.")] = 60,
    bfd: BfdOption = USUAL_BFD,
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TABLE,
    plot: Annotated[Path | None, typer.Option(help="Draw silence over time here, as SVG.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page here, and the plot beside it.")] = None,
) -> None:
    """Do the faults one after the other and show what they cost."""
    if everything == bool(names):
        raise InvalidInput("Name one or more faults, or say --all.", field="faults")
    shape = Shape(
        dataplane=dataplane,
        announcer=announcer,
        forwarding=forwarding or usual_forwarding(dataplane),
        check_interval=check_interval,
        ipv6=ipv6,
        database=database,
        bfd=Bfd.parse(bfd),
    )
    effort = Effort(connections=connections, datagram_flows=udp, interval=interval / 1000, rate=rate, after=after)
    with _lab(name, shape) as lab:
        faults, family = choose(names or [], lab.shape), 6 if ipv6 else 4
        outcomes: list[Outcome] = []
        try:
            for outcome in _endure_all(lab, faults, effort, tries, family=family, database_away=database_away):
                outcomes.append(outcome)  # noqa: PERF402  what came before an error is kept
        except BasculeError:
            # What was measured before it took minutes.
            _show(outcomes, output)
            raise
    _show(outcomes, output)
    if drawn := plot or (report and report.with_suffix(".svg")):
        drawn.write_text(plots.draw(outcomes), encoding="utf-8")
        if report:
            report.write_text(_page(lab, outcomes, os.path.relpath(drawn, report.parent)), encoding="utf-8")
    raise typer.Exit(1 if reports.missed(outcomes) else 0)


def _show(outcomes: Sequence[Outcome], output: Output) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps([reports.as_json(each) for each in outcomes], indent=2))
        return
    console = Console()
    console.print(reports.table(outcomes))
    for line in reports.missed(outcomes):
        console.print(line, style="red", highlight=False)


def _page(lab: Lab, outcomes: Sequence[Outcome], plot: str) -> str:
    command = " ".join(["bascule", *sys.argv[1:]])
    return reports.page(outcomes, shape=lab.shape, machine=_machine(), plot=plot, command=command)


def _endure_all(
    lab: Lab, faults: Sequence[Fault], effort: Effort, tries: int, *, family: int, database_away: float
) -> Iterator[Outcome]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        ControlPlane(lab) as api,
        AdminClient(lab.api_url, lab.admin_token) as admin,
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("", total=len(faults))
        for fault in faults:

            def tell(words: str, title: str = fault.name) -> None:
                bar.update(task, description=f"{title}: {words}")

            def attempt(tell: Callable[[str], None] = tell, fault: Fault = fault) -> Outcome:
                tell("making the lab whole")
                with set_scene(lab, api, admin, family, database_away=database_away) as scene:
                    return endure(scene, fault, effort, tell)

            try:
                outcome = clearest(attempt, tries)
            except BasculeError as error:
                raise SystemFailure(f"{fault.name} could not be measured. {error.sentence}") from error
            bar.advance(task)
            yield outcome


@contextmanager
def _lab(name: str, shape: Shape) -> Iterator[Lab]:
    """The lab of that name, or one that goes again in the end."""
    if state.exists(name):
        yield state.load(name)
        return
    with Console(stderr=True).status("Building a lab") as line:
        lab = life.up(name, shape, tell=line.update)
    try:
        yield lab
    finally:
        life.down(name)


def _machine() -> str:
    kernel = f"Linux {platform.release().partition('-')[0]} on {platform.machine()}, {os.cpu_count()} CPUs"
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"The machine: {kernel}; its load averages in the end were {load}, by whatever else it did."

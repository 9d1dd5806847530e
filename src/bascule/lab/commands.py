"""`bascule lab`: a data centre on this machine, to try everything in before trusting it with anything."""

from __future__ import annotations

import json
import subprocess
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any

import typer
from rich.console import Console

from bascule.events.messages import MachineEventKind
from bascule.lab import faults, life, machines, passage, picture, state, traffic
from bascule.lab.control_plane import ControlPlane
from bascule.lab.demo import EXCHANGES, run_demo
from bascule.lab.network import namespaces_of
from bascule.lab.observe import observe
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
from bascule.lab.shape import USUAL_BFD, AnnouncerName, Bfd, DatabaseKind, EventsFrom, Shape, usual_forwarding
from bascule.lab.state import Lab
from bascule.lab.survival import commands as survival
from bascule.lab.traffic import Tally, Target
from bascule.model.data_planes import DataPlaneName
from bascule.model.errors import InvalidInput, NotFound
from bascule.model.strategies import Protocol
from bascule.system.namespaces import call_in

lab_app = typer.Typer(help="A data centre in network namespaces: build it, look at it, send traffic, break it.")

Events = Annotated[EventsFrom, typer.Option(help="Where it hears events of machines.")]
Orchestrators = Annotated[int, typer.Option(min=1, max=9, help="How many share the work.")]
IPv6 = Annotated[bool, typer.Option(help="IPv6 beside IPv4.")]


@lab_app.command()
def up(
    *,
    name: Name = "demo",
    underlay_mtu: Annotated[int, typer.Option(help="MTU between router, LB nodes and hypervisors.")] = 1600,
    dataplane: DataPlane = DataPlaneName.XDP,
    forwarding: ForwardingOption = None,
    announcer: AnnouncerOption = AnnouncerName.BGP,
    check_interval: CheckInterval = 1,
    ipv6: IPv6 = True,
    database: Database = DatabaseKind.SQLITE,
    events: Events = EventsFrom.NONE,
    orchestrators: Orchestrators = 1,
    bfd: BfdOption = USUAL_BFD,
    hosts_only: Annotated[bool, typer.Option(help="No agents and no control plane.")] = False,
) -> None:
    """Build a lab and start everything in it."""
    console = Console()
    with console.status("Building") as line:
        shape = Shape(
            underlay_mtu=underlay_mtu,
            dataplane=dataplane,
            forwarding=forwarding or usual_forwarding(dataplane),
            announcer=announcer,
            check_interval=check_interval,
            ipv6=ipv6,
            database=database,
            events=events,
            orchestrators=orchestrators,
            bfd=Bfd.parse(bfd),
        )
        lab = life.up(name, shape, hosts_only=hosts_only, tell=line.update)
    console.print(f"Lab [bold]{name}[/] is up.")
    if not hosts_only:
        console.print(f"Its API answers at {lab.api_url}. To use it from this shell:\n", highlight=False)
        console.print(exports(lab) + "\n", style="cyan", highlight=False)
    console.print(f"Look: bascule lab status -n {name}    End: bascule lab down -n {name}", highlight=False)


@lab_app.command()
def down(name: Name = "demo") -> None:
    """Take a lab away with everything in it; nothing is left behind."""
    there = life.down(name)
    Console().print(f"Lab {name} is gone." if there else f"There was no lab {name}.")


@lab_app.command()
def status(name: Name = "demo") -> None:
    """Show the topology, processes, BGP sessions, routes and load balancers."""
    seen = observe(state.load(name))
    console = Console()
    for part in (picture.topology, picture.hosts, picture.routing, picture.load_balancers):
        console.print(part(seen))


@lab_app.command()
def env(name: Name = "demo") -> None:
    """Print the shell variables with which the command line and the API's clients find this lab."""
    typer.echo(exports(state.load(name)))


@lab_app.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def execute(host: str, command: Annotated[list[str], typer.Argument()], name: Name = "demo") -> None:
    """Run a command on a host of the lab: bascule lab exec client -- curl http://203.0.113.16/"""
    found = namespaces_of(state.load(name).name)
    if host not in found:
        raise NotFound(f"There is no host {host} in lab {name}: choose one of {', '.join(found)}.")
    words = command[1:] if command[0] == "--" else command
    try:
        child = call_in(found[host], lambda: subprocess.Popen(words))
    except OSError as error:
        raise NotFound(f"Cannot run {words[0]}: {error.strerror}.") from None
    raise typer.Exit(child.wait())


@lab_app.command(name="traffic")
def send_traffic(  # noqa: PLR0917  typer's way to name options
    name: Name = "demo",
    connections: Annotated[int, typer.Option(min=0, help="TCP connections per TCP service.")] = 1000,
    udp: Annotated[int, typer.Option(min=0, help="UDP requests per UDP service.")] = 1000,
    concurrency: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 64,
    target: Annotated[
        list[str] | None, typer.Option(help="tcp:ADDRESS:PORT or tcp:[ADDRESS]:PORT instead of every service.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TABLE,
) -> None:
    """Open real connections from the client through every load balancer, and show what became of them."""
    lab = state.load(name)
    counts = {Protocol.TCP: connections, Protocol.UDP: udp}
    before = passage.read(lab)
    targets = [parse_target(each) for each in target or ()] or every_service(lab)
    tallies = [traffic.send(lab, each, counts[each.protocol], concurrency=concurrency) for each in targets]
    passed = passage.read(lab).since(before)
    if output is Output.JSON:
        typer.echo(json.dumps([as_json(tally) for tally in tallies], indent=2))
    else:
        Console().print(picture.answers(tallies), picture.passage(passed))
    raise typer.Exit(1 if any(tally.failures or tally.disguised for tally in tallies) else 0)


@lab_app.command()
def kill_node(node: str, name: Name = "demo") -> None:
    """Kill a node of the lab as a power failure would: its agent gets a kill -9, its cable is dead."""
    faults.kill_node(_lab_with(node, name), node)


@lab_app.command()
def revive_node(node: str, name: Name = "demo") -> None:
    """Bring a killed node back: cable, agent, and what it carried before."""
    faults.revive_node(_lab_with(node, name), node)


@lab_app.command()
def machine(
    instance: str,
    became: MachineEventKind,
    *,
    name: Name = "demo",
    to: Annotated[str, typer.Option(help="The hypervisor that it migrates to.", show_default=False)] = "",
) -> None:
    """Tell what became of an instance, as a manager of hypervisors would: bascule lab machine vm1 migrated --to hv2

    What is migrating is told of before it moves.
    """
    lab = state.load(name)
    if (became in {MachineEventKind.MIGRATING, MachineEventKind.MIGRATED}) != bool(to):
        raise InvalidInput("Name a hypervisor with --to for what migrates, and for nothing else.", field="to")
    if became is MachineEventKind.MIGRATED:
        lab = machines.move(lab, instance, to)
    machines.tell(lab, machines.events(lab, instance, became, to))


@lab_app.command()
def demo(
    *,
    name: Name = "demo",
    keep: Annotated[bool, typer.Option(help="Leave the lab up in the end, to play with.")] = False,
    dataplane: DataPlane = DataPlaneName.XDP,
    forwarding: ForwardingOption = None,
    check_interval: CheckInterval = 1,
    ipv6: IPv6 = True,
    database: Database = DatabaseKind.SQLITE,
    events: Events = EventsFrom.NONE,
    orchestrators: Orchestrators = 1,
    exchanges: Annotated[int, typer.Option(min=64, help="Connections and requests at a time.")] = EXCHANGES,
) -> None:
    """Show it all within two minutes: traffic, direct replies, scaling, the death of an LB node."""
    shape = Shape(
        dataplane=dataplane,
        forwarding=forwarding or usual_forwarding(dataplane),
        check_interval=check_interval,
        ipv6=ipv6,
        database=database,
        events=events,
        orchestrators=orchestrators,
    )
    held = run_demo(name, shape, exchanges=exchanges, keep=keep, console=Console())
    raise typer.Exit(0 if held else 1)


lab_app.command(name="survive", help=survival.HELP, epilog=survival.EPILOG)(survival.survive)


def _lab_with(node: str, name: str) -> Lab:
    lab = state.load(name)
    if lab.hosts_only or node not in lab.agent_tokens:
        raise NotFound(f"No agent runs on {node} in lab {name}: choose one of {', '.join(lab.agent_tokens)}.")
    return lab


def exports(lab: Lab) -> str:
    """The shell variables that point at the lab's API."""
    variables = {
        "BASCULE_API_URL": lab.api_url,
        "BASCULE_API_KEY": lab.api_key,
        "BASCULE_API_SECRET": lab.api_secret,
        "BASCULE_ADMIN_TOKEN": lab.admin_token,
    }
    return "\n".join(f"export {name}={value}" for name, value in variables.items())


def parse_target(text: str) -> Target:
    """Read `tcp:203.0.113.16:80` or `tcp:[2001:db8:203::10]:80`."""
    protocol, _, place = text.partition(":")
    address, _, port = place.rpartition(":")
    bare = address.removeprefix("[").removesuffix("]")
    try:
        ip = IPv4Address(address) if bare == address else IPv6Address(bare)
        return Target(Protocol(protocol), ip, int(port))
    except ValueError:
        example = "tcp:203.0.113.16:80 or tcp:[2001:db8:203::10]:80"
        raise InvalidInput(f"{text!r} is no target: write it like {example}.", field="target") from None


def every_service(lab: Lab) -> list[Target]:
    """Every service of every load balancer. Raises NotFound when there is none."""
    with ControlPlane(lab) as api:
        balancers = api.load_balancers()
    targets = [
        Target(service.protocol, balancer.ip, service.port) for balancer in balancers for service in balancer.services
    ]
    if not targets:
        raise NotFound(f"Lab {lab.name} has no service yet: create a load balancer, or name a --target.")
    return targets


def as_json(tally: Tally) -> dict[str, Any]:
    """A tally for programs to read."""
    median, slowest = tally.latency_ms()
    return {
        "target": str(tally.target),
        "answered-by": dict(tally.by_instance),
        "failures": dict(tally.failures),
        "wrong-client-address": tally.disguised,
        "latency-ms": {"median": round(median, 2), "p99": round(slowest, 2)},
    }

"""Pictures and tables of a lab for the terminal. Pure: a status in, something Rich can print out."""

from __future__ import annotations

from collections.abc import Iterable

from rich.align import Align
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from bascule.lab.control_plane import healthy
from bascule.lab.observe import HostStatus, Status
from bascule.lab.passage import Passage
from bascule.lab.shape import AnnouncerName
from bascule.lab.topology import VIPS, Host, Role
from bascule.lab.traffic import Tally

_UP, _DOWN, _QUIET = "green", "red", "dim"


def topology(status: Status) -> RenderableType:
    """The data centre as boxes: client above, router, then LB nodes and hypervisors with their instances."""
    client, router = status.host("client"), status.host("router")
    ranges = map(status.lab.topology.client_addresses, client.host.addresses)
    lb_nodes = [_lb_node(status, host) for host in status.hosts if host.host.role is Role.LB_NODE]
    hypervisors = [_hypervisor(status, host) for host in status.hosts if host.host.role is Role.HYPERVISOR]
    return Group(
        Align.center(_box(client, [Text(f"{few[0]} … {few[-1]}") for few in ranges])),
        Align.center(_cable(client)),
        Align.center(_box(router, [_next_hops(status)])),
        Align.center(Text("↓ requests, then tunnels        replies, straight to the client ↑", style=_QUIET)),
        Align.center(Columns(lb_nodes, padding=(0, 3))),
        Align.center(Columns(hypervisors, padding=(0, 3))),
    )


def hosts(status: Status) -> Table:
    """Every host with its addresses and programs."""
    table = Table("host", "role", "address", "cable", "programs", title=f"Lab {status.lab.name}", title_justify="left")
    for each in status.hosts:
        cable = Text("plugged in", style=_UP) if each.connected else Text("pulled", style=_DOWN)
        table.add_row(each.host.name, each.host.role, _addresses(each.host), cable, _programs(each.programs))
    if status.outside:
        table.add_row("(here)", "control", status.lab.api_url, "", _programs(status.outside))
    return table


def routing(status: Status) -> Table:
    """The router's sessions and what it routes over which LB nodes; with VRRP, which of them has what."""
    if status.lab.shape.announcer is AnnouncerName.VRRP:
        table = Table("LB node", "draws traffic of", title="By VRRP", title_justify="left")
        for host in status.lab.topology.of_role(Role.LB_NODE):
            table.add_row(host.name, ", ".join(map(str, status.announced_by(host.name))) or "nothing")
        return table
    table = Table("LB node", "over", "BGP session", "draws traffic of", title="At the router", title_justify="left")
    for session in status.sessions:
        drawn = [vip for vip in status.announced_by(session.node) if vip.version == session.family]
        state = Text(session.state, style=_UP if session.up else _DOWN)
        table.add_row(session.node, f"IPv{session.family}", state, ", ".join(map(str, drawn)) or "nothing")
    return table


def load_balancers(status: Status) -> RenderableType:
    """The load balancers as the API shows them."""
    if status.problem:
        return Text(status.problem, style="yellow")
    table = Table(
        "load balancer", "address", "state", "service", "healthy", title="Load balancers", title_justify="left"
    )
    for balancer in status.load_balancers:
        if not balancer.services:
            table.add_row(balancer.name, str(balancer.ip), balancer.state, "none yet", "")
        for service in balancer.services:
            ports = f"{service.protocol} {service.port} → {service.target_port}"
            found = list(healthy(balancer, service.name).values())
            table.add_row(balancer.name, str(balancer.ip), balancer.state, ports, f"{sum(found)} of {len(found)}")
    return table


def answers(tallies: Iterable[Tally]) -> Table:
    """Who answered how often, and whom each instance saw."""
    heads = ("target", "by", "count", "share", "clients", "median / p99")
    table = Table(*(Column(head, no_wrap=head != "clients") for head in heads), box=SIMPLE_HEAD)
    for tally in tallies:
        total = len(tally.answers) or 1
        median, slowest = tally.latency_ms()
        timing = f"{median:.0f} / {slowest:.0f} ms"
        target = str(tally.target)
        for name, count in tally.by_instance.items():
            seen = tally.clients_seen_by(name)
            mine = seen <= {answer.client for answer in tally.answers}
            saw = Text(f"{len(seen)} as such" if mine else ", ".join(sorted(seen)), style=_UP if mine else _DOWN)
            table.add_row(target, name, str(count), f"{count / total:.1%}", saw, timing)
            target = timing = ""
        for error, count in tally.failures.items():
            table.add_row(target, "nobody", str(count), f"{count / total:.1%}", Text(error, style=_DOWN), "")
        table.add_section()
    return table


def passage(passed: Passage) -> Table:
    """Which way the packets went."""
    table = Table("past the router", "packets", "bytes")
    rows = {
        "requests, client → LB nodes": passed.requests_to_lb_nodes,
        "tunnels, LB nodes → hypervisors": passed.tunnelled_from_lb_nodes,
        "replies, hypervisors → client": passed.replies_from_hypervisors,
        "replies that passed an LB node": passed.replies_from_lb_nodes,
    }
    for what, (packets, size) in rows.items():
        table.add_row(what, f"{packets:,}", f"{size:,}")
    return table


def _lb_node(status: Status, host: HostStatus) -> Panel:
    vips = status.announced_by(host.host.name)
    said = (
        Text("\n".join(f"announces {vip}" for vip in vips), style="bold cyan")
        if vips
        else Text("announces nothing", style=_QUIET)
    )
    return _box(host, [said])


def _hypervisor(status: Status, host: HostStatus) -> Panel:
    instances = [each for each in status.hosts if each.host.uplink == host.host.name]
    lines = [Text(f"{each.host.name} {_addresses(each.host)}", style=_UP if each.well else _DOWN) for each in instances]
    return _box(host, lines)


def _next_hops(status: Status) -> Text:
    lines = [f"{vip} → {', '.join(nodes)}" for vip, nodes in status.announcements.items()]
    ranges = " or ".join(str(VIPS[family]) for family in status.lab.shape.families)
    return Text("\n".join(lines) or f"no route to any VIP of {ranges}", style="bold cyan" if lines else _QUIET)


def _box(host: HostStatus, lines: list[Text]) -> Panel:
    programs = [_programs(host.programs)] if host.programs else []
    content = Text("\n").join([Text(_addresses(host.host), style=_QUIET), *lines, *programs])
    style = _UP if host.well else _DOWN
    cut = "" if host.connected else ", cut off"
    return Panel(content, title=f"[bold]{host.host.name}[/] ({host.host.role}{cut})", border_style=style, expand=False)


def _addresses(host: Host) -> str:
    return " ".join(map(str, host.addresses.values()))


def _cable(host: HostStatus) -> Text:
    return Text("│" if host.connected else "x", style=_UP if host.connected else _DOWN)


def _programs(programs: dict[str, bool]) -> Text:
    words = [
        Text(f"{name} {'runs' if runs else 'is dead'}", style=_UP if runs else _DOWN) for name, runs in programs.items()
    ]
    return Text(", ").join(words)

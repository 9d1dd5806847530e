"""A load balancer's state as `ipvsadm -L` shows it, one table for each LB node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from bascule.cli.output import console
from bascule.model.addresses import IPAddress
from bascule.model.virtual_services import ForwardingMethod
from bascule.wire.admin_v1_state import BackendStateView, LoadBalancerStateView, NodeStateView, ServiceStateView

# ipvsadm's words
_FORWARD = {
    ForwardingMethod.TUNNEL: "Tunnel",
    ForwardingMethod.DIRECT: "Route",
    ForwardingMethod.TRANSLATION: "Masq",
    ForwardingMethod.LOCAL: "Local",
}
_HEADINGS = ("  -> RemoteAddress:Port", "Forward", "Weight", "ActiveConn", "InActConn", "Packets", "Bytes", "Health")


def show_state(state: LoadBalancerStateView) -> None:
    """Print it."""
    for line in lines_of(state):
        console().print(Text(line, no_wrap=True, overflow="ignore"), soft_wrap=True)


def lines_of(state: LoadBalancerStateView) -> Iterator[str]:
    """What is printed. Pure."""
    yield from state.remarks
    if not state.lb_nodes:
        yield "No LB node carries it yet."
    for node in state.lb_nodes:
        yield ""
        yield f"{node.name} ({node.data_plane}): {_words(node)}"
        yield from (f"  {problem}" for problem in node.problems)
        if node.services:
            yield from _table(node.services)


def _words(node: NodeStateView) -> str:
    if not node.answers:
        return "does not answer"
    words = "serves" if node.ready else "does not serve", "announces" if node.announced else "does not announce"
    return ", ".join(words) + ("" if node.age is None else f" ({node.age:.0f} s ago)")


def _table(services: Sequence[ServiceStateView]) -> Iterator[str]:
    """Columns line up over all services; as in ipvsadm, the last two lines of the heading name both kinds of row."""
    rows = [_backend(backend) for service in services for backend in service.backends]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    yield "Prot LocalAddress:Port Scheduler"
    yield _line(_HEADINGS, widths)
    for service in services:
        yield _service(service)
        for backend in service.backends:
            yield _line(_backend(backend), widths)


def _service(service: ServiceStateView) -> str:
    scheduler = service.scheduler or "(not in place)"
    name = f" [{service.name}]" if service.name else ""
    totals = f"{service.packets} packets, {service.bytes} bytes"
    return f"{service.protocol.upper():4} {_place(service.address, service.port)} {scheduler}{name} {totals}"


def _backend(backend: BackendStateView) -> tuple[str, ...]:
    words = "" if backend.health is None else f"{backend.health}"
    words = f"{words} ({backend.message})" if backend.message else words
    return (
        f"  -> {_place(backend.address, backend.port)}",
        _FORWARD[backend.method],
        "-" if backend.weight is None else str(backend.weight),
        str(backend.active_connections),
        str(backend.inactive_connections),
        str(backend.packets),
        str(backend.bytes),
        " ".join(word for word in (words, backend.instance) if word),
    )


def _place(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

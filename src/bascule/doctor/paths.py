"""Checks that tunnelled packets fit the way between LB nodes and hypervisors, and whence they come. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from bascule.doctor.facts import Choice, Facts, Path, Role
from bascule.doctor.findings import Finding, ok, problem, warning
from bascule.model.addresses import IPAddress

TUNNEL_HEADER = 20  # bytes, IPv4 in IPv4 (RFC 2003)
# XDP writes an outer source of its own; IPVS takes that of the route.
_CHOSEN_BY_ROUTE = ("ipvs", "keepalived")
CLIENT_PACKET = 1500  # bytes, the longest that clients behind Ethernet send


def sizes(choice: Choice) -> tuple[int, ...]:
    """The packets to try, in bytes, the longest first."""
    return tuple(sorted({CLIENT_PACKET + TUNNEL_HEADER, choice.tunnel_mtu + TUNNEL_HEADER, 576}, reverse=True))


def check_paths(facts: Facts, choice: Choice) -> Iterator[Finding]:
    """A finding for each way."""
    for path in facts.network.paths:
        yield _check(path, choice.tunnel_mtu)
    if Role.LB_NODE in choice.roles and choice.dataplane in _CHOSEN_BY_ROUTE:
        for path in facts.network.tunnels:
            yield _outer_source(path, choice.tunnel_source)


def _outer_source(path: Path, accepted: IPv4Network) -> Finding:
    subject = f"outer source to {path.address}"
    if path.source is None:
        return problem(subject, f"There is no route to {path.address}.", f"ip route get {path.address}")
    if path.source in accepted:
        return ok(subject, f"IPVS's tunnels to {path.address} leave with source {path.source}, which is in {accepted}.")
    return problem(
        subject,
        f"IPVS's tunnels to {path.address} leave with source {path.source}, that of the route, which is not in"
        f" {accepted} (BASCULE_TUNNEL_SOURCE): hypervisors leave them alone. Should theirs name it in"
        " BASCULE_TUNNEL_SOURCES, say so here too.",
        _another_source(path, accepted[min(1, accepted.num_addresses - 1)]),
    )


def _another_source(path: Path, shared: IPAddress) -> str:
    """Commands that give IPVS's tunnels, whose route is looked up without a protocol, an outer source of their own.

    Health checks keep the node's: what answers a source that LB nodes share would be spread over all of them.
    """
    via = f" via {path.gateway}" if path.gateway else ""
    return " && ".join(
        (
            f"ip address replace {shared}/32 dev lo",
            *(f"ip rule add pref 100 ipproto {protocol} lookup main" for protocol in ("icmp", "tcp", "udp")),
            f"ip rule add pref 101 to {path.address} lookup 100",
            f"ip route replace {path.address}{via} dev {path.interface} src {shared} table 100",
        )
    )


def _check(path: Path, tunnel_mtu: int) -> Finding:
    subject, needed = f"path to {path.address}", tunnel_mtu + TUNNEL_HEADER
    if path.route_mtu is None:
        return problem(subject, f"There is no route to {path.address}.", f"ip route get {path.address}")
    if path.route_mtu < needed:
        return problem(
            subject,
            f"The route to {path.address} takes packets of {path.route_mtu} bytes; the tunnel needs {needed}"
            f" (BASCULE_TUNNEL_MTU={tunnel_mtu} and {TUNNEL_HEADER} of header).",
            f"ip link set {path.interface} mtu {needed}",
        )
    if path.answered is None:
        return warning(
            subject,
            f"{path.address} answers no ping: whether packets of {needed} bytes reach it is not known.",
            f"ping -M do -s {needed - 28} {path.address}",
        )
    if path.answered < needed:
        return problem(
            subject,
            f"{path.address} answers packets of {path.answered} bytes, but none of {needed}: a switch or router between"
            f" has a smaller MTU, or BASCULE_TUNNEL_MTU={tunnel_mtu} is too large.",
            f"tracepath -n {path.address}",
        )
    if path.answered < CLIENT_PACKET + TUNNEL_HEADER:
        return warning(
            subject,
            f"Packets of {path.answered} bytes reach {path.address}, so clients' longest ({CLIENT_PACKET}) do not fit"
            ' the tunnel: TCP is clamped, large UDP datagrams get "too big".',
            f"ip link set {path.interface} mtu {CLIENT_PACKET + TUNNEL_HEADER}",
        )
    return ok(subject, f"Packets of {path.answered} bytes reach {path.address}: clients' longest fit the tunnel.")

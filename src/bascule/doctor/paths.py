"""Checks that a tunnelled packet fits the way between LB nodes and hypervisors. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.doctor.facts import Choice, Facts, Path
from bascule.doctor.findings import Finding, ok, problem, warning

TUNNEL_HEADER = 20  # bytes, IPv4 in IPv4 (RFC 2003)
CLIENT_PACKET = 1500  # bytes, the longest that clients behind Ethernet send


def sizes(choice: Choice) -> tuple[int, ...]:
    """The packets to try, in bytes, the longest first."""
    return tuple(sorted({CLIENT_PACKET + TUNNEL_HEADER, choice.tunnel_mtu + TUNNEL_HEADER, 576}, reverse=True))


def check_paths(facts: Facts, choice: Choice) -> Iterator[Finding]:
    """A finding for each way."""
    for path in facts.network.paths:
        yield _check(path, choice.tunnel_mtu)


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

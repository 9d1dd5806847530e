"""Checks that a tunnelled packet fits the way between LB nodes and hypervisors. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.doctor.facts import Choice, Facts, Path
from bascule.doctor.findings import Finding, ok, problem, warning

TUNNEL_HEADER = 20  # bytes, IPv4 in IPv4 (RFC 2003); BASCULE_TUNNEL_MTU is measured by it, whatever the tunnel's family
# In bytes by the version of IP: the tunnel's header, the headers of an echo, and what every way must take
_HEADER, _ECHO, _SMALLEST = {4: TUNNEL_HEADER, 6: 40}, {4: 28, 6: 48}, {4: 576, 6: 1280}
CLIENT_PACKET = 1500  # bytes, the longest that clients behind Ethernet send


def sizes(choice: Choice, version: int) -> tuple[int, ...]:
    """The packets of that version of IP to try, in bytes, the longest first."""
    wanted = {CLIENT_PACKET + _HEADER[version], choice.tunnel_mtu + TUNNEL_HEADER, _SMALLEST[version]}
    return tuple(sorted(wanted, reverse=True))


def check_paths(facts: Facts, choice: Choice) -> Iterator[Finding]:
    """A finding for each way."""
    for path in facts.network.paths:
        yield _check(path, choice.tunnel_mtu)


def _check(path: Path, tunnel_mtu: int) -> Finding:
    subject, needed, version = f"path to {path.address}", tunnel_mtu + TUNNEL_HEADER, path.address.version
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
            f"ping -M do -s {needed - _ECHO[version]} {path.address}",
        )
    if path.answered < needed:
        return problem(
            subject,
            f"{path.address} answers packets of {path.answered} bytes, but none of {needed}: a switch or router between"
            f" has a smaller MTU, or BASCULE_TUNNEL_MTU={tunnel_mtu} is too large.",
            f"tracepath -n {path.address}",
        )
    if path.answered < CLIENT_PACKET + _HEADER[version]:
        return warning(
            subject,
            f"Packets of {path.answered} bytes reach {path.address}, so clients' longest ({CLIENT_PACKET}) do not fit"
            ' the tunnel: TCP is clamped, large UDP datagrams get "too big".',
            f"ip link set {path.interface} mtu {CLIENT_PACKET + _HEADER[version]}",
        )
    return ok(subject, f"Packets of {path.answered} bytes reach {path.address}: clients' longest fit the tunnel.")

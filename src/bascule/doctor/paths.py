"""Checks that tunnelled packets fit the way between LB nodes and hypervisors, and whence they come. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.doctor.facts import Choice, Facts, Path, Role
from bascule.doctor.findings import Finding, ok, problem, warning
from bascule.model.addresses import IPNetwork

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
    # XDP writes an outer source of its own, and keepalived's namespaces have one: no route of the node is asked.
    if Role.LB_NODE in choice.roles and choice.dataplane == "ipvs":
        for path in facts.network.tunnels:
            yield _outer_source(path, choice.tunnel_sources)


def _outer_source(path: Path, accepted: tuple[IPNetwork, ...]) -> Finding:
    subject, prefixes = f"outer source to {path.address}", " and ".join(map(str, accepted))
    if path.source is None:
        return problem(subject, f"There is no route to {path.address}.", f"ip route get {path.address}")
    if any(path.source in prefix for prefix in accepted):
        return ok(subject, f"IPVS's tunnels to {path.address} leave with source {path.source}, which is in {prefixes}.")
    return problem(
        subject,
        f"IPVS's tunnels to {path.address} leave with source {path.source}, which is not in {prefixes}"
        " (BASCULE_TUNNEL_SOURCES): hypervisors leave them alone. Should theirs name it, say so here too.",
        _another_source(path, accepted),
    )


def _another_source(path: Path, accepted: tuple[IPNetwork, ...]) -> str:
    """Commands that give IPVS's tunnels, whose route is looked up without a protocol, an outer source of their own.

    Health checks keep the node's: what answers a source that LB nodes share would be spread over all of them. Over
    IPv6, IPVS takes the uplink's own address whatever the route says: there the hypervisors must follow.
    """
    prefix = next((prefix for prefix in accepted if prefix.version == path.address.version == 4), None)
    if prefix is None:
        return f"add {path.source} to BASCULE_TUNNEL_SOURCES of every hypervisor"
    shared = prefix[min(1, prefix.num_addresses - 1)]
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

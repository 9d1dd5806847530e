"""The router's BIRD: BGP with BFD towards every LB node, one route over all that announce (ECMP)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from bascule.announcers.vrrp.plan import priority, router_id
from bascule.announcers.vrrp.render import VrrpOptions
from bascule.lab.network import addresses_on, hardware_address, neighbours, next_hops
from bascule.lab.shape import AnnouncerName, Bfd
from bascule.lab.state import Lab
from bascule.lab.topology import LB_AS, ROUTER_AS, SEGMENT, UPLINK, VIPS, Host, Role, Topology
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.system.commands import run

_HEAD = """log stderr {{ info, warning, error, fatal, bug }};
router id {router_id};
protocol device {{ scan time 1; }}
protocol bfd {{
  interface "lb*" {{ min rx interval {interval} ms; min tx interval {interval} ms; multiplier {multiplier}; }};
}}
"""
_KERNEL = """protocol kernel {{
  merge paths on limit 16;
  ipv{family} {{ import none; export where source = RTS_BGP; }};
}}
filter vips{family} {{
  if net !~ [ {vips}{{{bits},{bits}}} ] then reject;
  # Whoever asks for a graceful shutdown (RFC 8326) is used only when nobody else is left.
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  accept;
}}
"""
_SESSION = """protocol bgp {name} {{
  local as {router_as};
  neighbor {address} as {lb_as};
  bfd on;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;
  ipv{family} {{ import filter vips{family}; export none; }};
}}
"""
_NAME = re.compile(r"(.+)_ipv([46])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One BGP session as the router sees it. `state` is BIRD's word, "Established" when all is well."""

    node: str
    family: int
    state: str

    @property
    def up(self) -> bool:
        """Whether routes flow."""
        return self.state == "Established"


def render(topology: Topology, bfd: Bfd) -> str:
    """BIRD's configuration for the router."""
    head = _HEAD.format(
        router_id=topology.host("router").address,
        interval=bfd.interval_ms,
        multiplier=bfd.multiplier,
    )
    kernel = "".join(
        _KERNEL.format(family=family, vips=VIPS[family], bits=VIPS[family].max_prefixlen)
        for family in topology.host("router").addresses
    )
    # On a segment the nodes have no router to tell.
    nodes = () if topology.host("router").bridges else topology.of_role(Role.LB_NODE)
    return head + kernel + "".join(_session(node, family) for node in nodes for family in node.addresses)


def _session(node: Host, family: int) -> str:
    """A session of its own for each family: its next hops are then of that family too."""
    return _SESSION.format(
        name=f"{node.name}_ipv{family}",
        address=node.addresses[family],
        family=family,
        router_as=ROUTER_AS,
        lb_as=LB_AS,
    )


def configure(lab: Lab) -> None:
    """Write the configuration where the router's BIRD reads it."""
    folder = lab.folder("router")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bird.conf").write_text(render(lab.topology, lab.shape.bfd))


def sessions(lab: Lab) -> tuple[Session, ...]:
    """Every BGP session; none while BIRD does not answer."""
    try:
        answer = run(["birdc", "-s", f"{lab.folder('router')}/bird.ctl", "show", "protocols"])
    except SystemFailure:
        return ()
    return parse_sessions(answer)


def parse_sessions(answer: str) -> tuple[Session, ...]:
    """Read `show protocols`: name, protocol, table, state, since, info."""
    rows = [line.split() for line in answer.splitlines()]
    return tuple(
        Session(node=name[1], family=int(name[2]), state=row[5] if len(row) > 5 else row[3])
        for row in rows
        if len(row) > 3 and row[1] == "BGP" and (name := _NAME.fullmatch(row[0]))
    )


def announcements(lab: Lab) -> dict[IPAddress, tuple[str, ...]]:
    """The LB nodes each VIP is routed over, as the router's kernel has it; or those that have it on the segment."""
    nodes = lab.topology.of_role(Role.LB_NODE)
    if lab.shape.announcer is AnnouncerName.VRRP:
        has = {node.name: addresses_on(lab.name, node.name, UPLINK) for node in nodes}
        vips = {each for held in has.values() for each in held if each in VIPS[each.version]}
        return {vip: tuple(sorted(name for name, held in has.items() if vip in held)) for vip in vips}
    names = {str(address): host.name for host in nodes for address in host.addresses.values()}
    return {
        address: tuple(sorted(names.get(hop, hop) for hop in hops))
        for address, hops in ((ip_address(key), hops) for key, hops in next_hops(lab.name, "router").items())
        if address in VIPS[address.version]
    }


def drawn_by(lab: Lab, vip: IPAddress) -> tuple[str, ...]:
    """The LB nodes that the router sends a VIP's packets to; on a segment the one whose answer it heard last."""
    if lab.shape.announcer is AnnouncerName.BGP:
        return announcements(lab).get(vip, ())
    heard = neighbours(lab.name, "router", SEGMENT).get(vip)
    nodes = (node.name for node in lab.topology.of_role(Role.LB_NODE))
    return tuple(name for name in nodes if hardware_address(lab.name, name, UPLINK) == heard)


def preferred(lab: Lab, vip: IPAddress) -> str:
    """The LB node that carries a VIP when all are well: with VRRP the one of the highest priority, else the first."""
    nodes = lab.topology.of_role(Role.LB_NODE)
    if lab.shape.announcer is AnnouncerName.BGP:
        return nodes[0].name
    sources = {node.addresses[vip.version]: node.name for node in nodes}
    number = router_id(vip, VrrpOptions(interface=UPLINK, nodes=tuple(sources)).ids)
    return sources[max(sources, key=lambda source: priority(number, source, sources))]

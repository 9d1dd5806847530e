"""Which VRRP instances a node runs, and with which priority. Pure: all nodes of a segment agree without talking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from bascule.announcers.vrrp.render import VrrpOptions
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import InvalidInput

_BEST, _STEP = 250, 20  # 255 is for the owner of an address, which nobody is (RFC 9568, section 5.2.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One address in VRRP: its number on the segment, and how this node takes part.

    Adverts go from `source` to `peers`. `gateway` is the way by which its replies leave, by a routing table of its own.
    """

    address: IPAddress
    router_id: int
    priority: int
    source: IPAddress
    peers: tuple[IPAddress, ...]
    gateway: IPAddress | None = None

    @property
    def name(self) -> str:
        """What keepalived calls it."""
        return f"vip-{self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run, and a sentence for each address that cannot be announced."""

    instances: tuple[Instance, ...] = ()
    refusals: tuple[str, ...] = field(default=())


def sources(options: VrrpOptions, own: Set[IPAddress]) -> Mapping[int, IPAddress]:
    """This node's address of each family among those of all nodes. Raises InvalidInput when there is not one."""
    found: dict[int, IPAddress] = {}
    for family in sorted({each.version for each in options.nodes}):
        mine = [each for each in options.nodes if each.version == family and each in own]
        if len(mine) != 1:
            raise InvalidInput(
                f"BASCULE_VRRP_NODES names {len(mine)} addresses of this machine of IPv{family}: name one of each"
                " node, and the same on every node.",
                field="BASCULE_VRRP_NODES",
            )
        found[family] = mine[0]
    return found


def router_id(address: IPAddress, ids: tuple[int, int]) -> int:
    """The number of an address on its segment (the VRID): neighbouring addresses have different ones, everywhere."""
    first, last = ids
    return first + int(address) % (last - first + 1)


def priority(number: int, source: IPAddress, nodes: Iterable[IPAddress]) -> int:
    """What a node is worth for a VRID: the first place goes round, so that the nodes share the addresses evenly."""
    order = sorted(nodes, key=address_order)
    return _BEST - _STEP * ((order.index(source) - number) % len(order))


def plan(options: VrrpOptions, own: Mapping[int, IPAddress], addresses: Set[IPAddress]) -> Plan:
    """The instances for these addresses; `own` is what `sources` found."""
    instances: dict[tuple[int, int], Instance] = {}
    refusals = []
    gateways = {gateway.version: gateway for gateway in options.gateways}
    for address in sorted(addresses, key=address_order):
        family, number = address.version, router_id(address, options.ids)
        nodes = [each for each in options.nodes if each.version == family]
        if family not in own or len(nodes) < 2:
            refusals.append(
                f"{address} cannot be announced: BASCULE_VRRP_NODES names no two nodes by IPv{family}. Add them."
            )
        elif (holder := instances.get((family, number))) is not None:
            refusals.append(
                f"{address} cannot be announced: {holder.address} has its VRRP router id {number}. Take addresses that"
                " follow one another, or widen BASCULE_VRRP_IDS."
            )
        else:
            instances[family, number] = Instance(
                address=address,
                router_id=number,
                priority=priority(number, own[family], nodes),
                source=own[family],
                peers=tuple(each for each in sorted(nodes, key=address_order) if each != own[family]),
                gateway=gateways.get(family),
            )
    return Plan(instances=tuple(instances.values()), refusals=tuple(refusals))

"""What was read from the machine, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bascule.model.addresses import IPAddress, IPNetwork


class Role(StrEnum):
    """What the machine is to be."""

    LB_NODE = "lb-node"
    HYPERVISOR = "hypervisor"


class Presence(StrEnum):
    """Whether the kernel has a feature that may be a module."""

    READY = "ready"
    LOADABLE = "loadable"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the machine is to run, by the names that the agents' settings use."""

    roles: frozenset[Role] = frozenset(Role)
    dataplane: str = "xdp"
    forwarding: str = "ebpf"
    announcer: str = "bgp"
    interfaces: tuple[str, ...] = ()
    uplinks: tuple[str, ...] = ()
    tunnel_mtu: int = 1480
    tunnel_sources: tuple[IPNetwork, ...] = ()

    @property
    def forwards_ipv6(self) -> bool:
        """Whether a hypervisor is to take packets out of IPv6 tunnels."""
        return Role.HYPERVISOR in self.roles and any(source.version == 6 for source in self.tunnel_sources)

    @property
    def outside(self) -> tuple[str, ...]:
        """The interfaces towards clients, routers and tunnels, each once."""
        client_side = self.interfaces if Role.LB_NODE in self.roles else ()
        tunnel_side = self.uplinks if Role.HYPERVISOR in self.roles else ()
        return tuple(dict.fromkeys((*client_side, *tunnel_side)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A line of a sysctl file, the last one that sets this key."""

    file: str
    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemFacts:
    """The same in every network namespace of the machine. A version is None when the program is not installed.

    `nft_families` are the families in which the kernel's nftables took rules like ours, with NAT for `ip` and `ip6`;
    `iptables` is whether iptables-legacy takes such rules too.
    """

    kernel: str = ""
    libbpf: bool = True
    missing_objects: tuple[str, ...] = ()
    xdp_programs: bool = True
    tc_programs: bool = True
    jit: bool | None = None
    clsact: bool = True
    nft_families: frozenset[str] = frozenset({"ip", "ip6", "inet"})
    iptables: bool = False
    modules: Mapping[str, Presence] = field(default_factory=dict)
    versions: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    assignments: tuple[Assignment, ...] = ()
    processes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface. `native_xdp` is None when the kernel cannot tell; `sysctls` are those of net.ipv4.conf.

    `kind` is the kernel's word for a virtual one (veth, tun, bridge…), empty for a card.
    """

    name: str
    kind: str = ""
    ethernet: bool = True
    up: bool = True
    mtu: int = 1500
    native_xdp: bool | None = None
    sysctls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The way to another node. `answered` is the largest packet, in bytes, that was answered unfragmented.

    `gateway` is the route's; `source` is where tunnels to there come from, which is looked up for instances only.
    """

    address: IPAddress
    interface: str = ""
    gateway: IPAddress | None = None
    source: IPAddress | None = None
    route_mtu: int | None = None
    answered: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """What belongs to one network namespace. `sysctls` has full names; `ruleset` is what `nft -j` lists.

    `tunnels` are the ways to instances, of which only the route is known.
    """

    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    sysctls: Mapping[str, int] = field(default_factory=dict)
    ruleset: tuple[Mapping[str, Any], ...] = ()
    legacy_tables: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    tunnels: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything the checks look at."""

    system: SystemFacts = SystemFacts()
    network: NetworkFacts = NetworkFacts()

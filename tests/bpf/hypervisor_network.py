"""A hypervisor, two instances and a client that doubles as LB node, each in a network namespace of its own.

client 198.51.100.2 eth0 ---- uplink0 hypervisor tap1 ---- eth0 10.128.0.11 instance1
                                                 tap2 ---- eth0 10.128.0.12 instance2

All have addresses of both families (`hypervisor_programs.FAMILIES`); one of them is used.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from bascule import native
from bascule.forwarding.ebpf.driver import EbpfForwarding
from bascule.forwarding.interface import Forwarding
from bascule.forwarding.netfilter.driver import NetfilterForwarding
from bascule.forwarding.netfilter.kernel import NatTable
from bascule.forwarding.netfilter.legacy.kernel import LegacyTable
from bascule.forwarding.netfilter.tables import Kind
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol
from bascule.system import bpf
from bascule.system.commands import run
from tests.bpf.hypervisor_programs import FAMILIES, IPV4, IPV6, TUNNEL_SOURCES, Family
from tests.namespaces import Hosts, unmount

CLIENT, VIP, INSTANCES = IPV4.client, IPV4.vip, (IPV4.instance, IPV4.neighbour)
# By the family: the hypervisor's address towards clients, that towards instances
_ADDRESSES = {4: ("198.51.100.1/24", "169.254.1.1/32"), 6: ("2001:db8:51::1/64", "fe80::1/64")}
TIMEOUT = 15.0  # seconds; what fails, fails by then
ENCAPSULATE = Path(__file__).with_name("encapsulate.bpf.c")
# What the forwarding `netfilter` translates by; the kernel decides for itself unless it is told.
_KINDS: dict[str, Kind] = {"netfilter": NatTable, "iptables": LegacyTable}


class Network(Hosts):
    """Build with `with`: everything goes away at the end, whatever happened."""

    def __init__(self, directory: Path, forwarding: str = "ebpf", family: Family = IPV4) -> None:
        """`forwarding` names the driver, as the agent's settings do, or is `iptables`: `netfilter` without nftables."""
        super().__init__("client", "hypervisor", "instance1", "instance2")
        self.forwarding = forwarding
        self.family = family
        self.client, self.vip, self.router = family.client, family.vip, family.router
        self.first, self.second = family.instance, family.neighbour
        self.web, self.other = rule(80, self.first, 8080), rule(81, self.second, 8081)
        self.dns = rule(53, self.first, 5353, Protocol.UDP)
        self._directory = directory
        self.bpf_dir = directory / "bpf"
        self._encapsulation: bpf.BpfObject | None = None
        self._drivers: list[Forwarding] = []

    def build(self) -> None:
        """Cables, addresses, routes."""
        for host in self.names:
            self.inside(host, _allow_asymmetric_routes)
        self.inside("hypervisor", let_forward)
        self._plug("client", "eth0", "uplink0")
        self.ip("hypervisor", *(f"addr add {outside} dev uplink0" for outside, _ in _ADDRESSES.values()))
        for family in FAMILIES.values():
            gateway, _, length = _ADDRESSES[family.version][0].partition("/")
            self.ip("client", f"addr add {family.client}/{length} dev eth0", f"route add default via {gateway}")
        for number in (1, 2):
            self.add_instance(number)

    def add_instance(self, number: int) -> None:
        """Give an instance its interface, as when it boots."""
        self._plug(f"instance{number}", "eth0", f"tap{number}")
        for family in FAMILIES.values():
            address = (family.instance, family.neighbour)[number - 1]
            self.add_route(address, f"tap{number}")
            gateway, _, _ = _ADDRESSES[family.version][1].partition("/")
            commands = (f"addr add {address} dev eth0", f"route add default via {gateway} dev eth0 onlink")
            self.ip(f"instance{number}", *commands)

    def add_route(self, instance: IPAddress, interface: str) -> None:
        """Route an instance by one of the hypervisor's interfaces, which becomes its gateway."""
        commands = (
            f"addr add {_ADDRESSES[instance.version][1]} dev {interface}",
            f"route add {instance} dev {interface}",
        )
        self.ip("hypervisor", *commands)

    def remove_route(self, instance: IPAddress, interface: str) -> None:
        """Undo `add_route`."""
        commands = (
            f"route del {instance} dev {interface}",
            f"addr del {_ADDRESSES[instance.version][1]} dev {interface}",
        )
        self.ip("hypervisor", *commands)

    def _plug(self, host: str, inner: str, outer: str) -> None:
        self.ip(host, f"link add {inner} type veth peer name {outer} netns @hypervisor", f"link set {inner} up")
        self.ip("hypervisor", f"link set {outer} up")

    def tunnel(self, port: int, instance: IPAddress) -> None:
        """Make the client's LB node send what goes to VIP:port to the instance."""
        if self._encapsulation is None:
            self._encapsulation = bpf.BpfObject(compile_encapsulation(self._directory))
            program = self._encapsulation.program("encapsulate")
            self.inside("client", lambda: bpf.attach_tc(_index("eth0"), program, egress=True))
        name = "targets6" if instance.version == 6 else "instances"
        self._encapsulation.map(name).set(_vip(instance).packed + port.to_bytes(2, "big") + bytes(2), instance.packed)

    def start(self) -> Forwarding:
        """A driver that has started, as in a new process."""
        driver = _new_driver(self.forwarding, self.bpf_dir)
        self._drivers.append(driver)
        self.inside("hypervisor", driver.start)
        return driver

    def driver(self, *rules: ForwardingRule) -> Forwarding:
        """A driver that has started and enforced the rules."""
        driver = self.start()
        self.enforce(driver, *rules)
        return driver

    def enforce(self, driver: Forwarding, *rules: ForwardingRule) -> tuple[str, ...]:
        """Enforce on the hypervisor."""
        return self.inside("hypervisor", lambda: driver.enforce(frozenset(rules)))

    def counters(self, driver: Forwarding) -> Mapping[str, int]:
        """The counters of the hypervisor's programs."""
        return self.inside("hypervisor", driver.observe).counters

    def serve(self, host: str, port: int) -> socket.socket:
        """A listening TCP socket."""
        kind = _socket_family(self.vip)
        return self.inside(host, lambda: socket.create_server(("", port), family=kind))

    def connect(self, address: IPAddress, port: int, *, host: str = "client", source_port: int = 0) -> socket.socket:
        """A TCP connection, of the client unless another host is named."""
        opened = self.inside(host, lambda: socket.socket(_socket_family(address), socket.SOCK_STREAM))
        opened.settimeout(TIMEOUT)
        # A port whose last connection ended just now may be used again, to another destination.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(("", source_port))
        opened.connect((str(address), port))
        return opened

    def udp(self, host: str, port: int = 0) -> socket.socket:
        """A UDP socket bound to the port."""
        opened = self.inside(host, lambda: socket.socket(_socket_family(self.vip), socket.SOCK_DGRAM))
        opened.settimeout(TIMEOUT)
        opened.bind(("", port))
        return opened

    def send_raw(self, packet: bytes) -> None:
        """Send an IP packet from the client, its header as given."""
        destination = str(IPv6Address(packet[24:40]) if packet[0] >> 4 == 6 else IPv4Address(packet[16:20]))
        kind = _socket_family(ip_address(destination))
        with self.inside("client", lambda: socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)) as raw:
            raw.sendto(packet, (destination, 0))

    def tunnels_seen(self) -> socket.socket:
        """What arrives at the client in tunnels of the family, as from a hypervisor that sends it on."""
        kind, protocol = _socket_family(self.client), self.family.tunnel
        opened = self.inside("client", lambda: socket.socket(kind, socket.SOCK_RAW, protocol))
        opened.settimeout(TIMEOUT)
        return opened

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for driver in self._drivers:
            driver.close()
        if self._encapsulation is not None:
            self._encapsulation.close()
        unmount(self.bpf_dir)


def _new_driver(forwarding: str, bpf_dir: Path) -> Forwarding:
    if forwarding in _KINDS:
        kinds = (_KINDS[forwarding],)
        return NetfilterForwarding(
            uplinks=("uplink0",), tunnel_sources=TUNNEL_SOURCES, tunnel_mtu=1480, bpf_dir=bpf_dir, kinds=kinds
        )
    return EbpfForwarding(uplinks=("uplink0",), tunnel_sources=TUNNEL_SOURCES, tunnel_mtu=1480, bpf_dir=bpf_dir)


def rule(port: int, instance: IPAddress, target_port: int, protocol: Protocol = Protocol.TCP) -> ForwardingRule:
    """A rule of the VIP of the instance's family."""
    return ForwardingRule(_vip(instance), protocol, port, instance, target_port)


def _vip(instance: IPAddress) -> IPAddress:
    return IPV6.vip if instance.version == 6 else IPV4.vip


def _socket_family(address: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def sysctl(key: str, value: str, *, version: int = 4) -> None:
    """Set a sysctl of that family in the calling thread's namespace."""
    Path(f"/proc/sys/net/ipv{version}", key).write_text(value)


def let_forward() -> None:
    """Let the calling thread's namespace forward packets of both families."""
    sysctl("ip_forward", "1")
    sysctl("conf/all/forwarding", "1", version=6)


def reason_to_skip() -> str:
    """What these tests miss on this machine; empty when nothing."""
    if os.geteuid() != 0:
        return "needs root for network namespaces and BPF"
    if not (native.DIRECTORY / "tc_hypervisor.bpf.o").exists():
        return "needs tc_hypervisor.bpf.o: run `make native`"
    missing = [tool for tool in ("ip", "clang") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


@cache
def without_iptables() -> str:
    """Why iptables-legacy cannot translate here; empty when it can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    try:
        for version in (4, 6):
            LegacyTable(version, largest_segment=1400).start()
    except SystemFailure as failure:
        return f"needs iptables-legacy: {failure.sentence}"
    return ""


def _allow_asymmetric_routes() -> None:
    for which in ("all", "default"):
        sysctl(f"conf/{which}/rp_filter", "0")
        # An address counts at once: nobody else can have it here.
        sysctl(f"conf/{which}/accept_dad", "0", version=6)


def _index(name: str) -> int:
    return socket.if_nametoindex(name)


def compile_encapsulation(directory: Path) -> Path:
    """Put the compiled LB node of these tests there; returns the object."""
    compiled = directory / "encapsulate.bpf.o"
    compiled.write_bytes(_compiled_encapsulation())
    return compiled


@cache
def _compiled_encapsulation() -> bytes:
    headers = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    with TemporaryDirectory() as folder:
        compiled = Path(folder) / "encapsulate.bpf.o"
        run(["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", headers, "-c", str(ENCAPSULATE), "-o", str(compiled)])
        return compiled.read_bytes()

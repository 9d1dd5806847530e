"""A client, an LB node and two backends around a router, each in a network namespace, with real packets.

client 198.51.100.2 ---- router ---- 10.0.0.1 LB node
                           | | ---- 10.128.0.1 and 10.128.0.2, the backends

All of it may be IPv6 instead: then the router is known by its link-local addresses, and found by neighbour discovery.
The backends take their packets out of the tunnel themselves: a raw socket reads them, a TUN device injects them. Of
packets with two headers they send on to the other backend what is of no flow that they have.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import socketserver
import struct
import threading
from ipaddress import ip_address
from pathlib import Path

from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.dataplanes.xdp.tables import IdleTimes
from bascule.model.addresses import IPAddress
from bascule.model.virtual_services import VirtualService
from tests.bpf.balancer_bench import TUNNEL_SOURCE, TUNNEL_SOURCE_V6, V4, Family, disable_ipv6
from tests.namespaces import Hosts, unmount

TIMEOUT = 15.0  # seconds; what fails, fails by then
HOSTS = ("client", "lb", "backend1", "backend2")
LB = {4: ip_address("10.0.0.1"), 6: ip_address("fd00:10::1")}
_SOCKETS = {4: socket.AF_INET, 6: socket.AF_INET6}
# What a raw socket gives in front of the inner packet: IPv4's does not take the header off.
_OUTER = {4: 20, 6: 0}
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001


class _Handler(socketserver.StreamRequestHandler):
    """Answers every line with the backend's name."""

    def handle(self) -> None:
        for _ in self.rfile:
            self.wfile.write(f"{self.server.backend}\n".encode())  # type: ignore[attr-defined]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, family: Family) -> None:
        self.address_family = _SOCKETS[family.version]
        super().__init__((str(family.vip), 80), _Handler)


class Backend:
    """Made inside its namespace: decapsulates, and serves TCP on the VIP's port 80."""

    def __init__(self, name: str, family: Family) -> None:
        self._family = family
        self._flows: set[bytes] = set()
        self._onward = socket.socket(_SOCKETS[family.version], socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._tunnel = socket.socket(_SOCKETS[family.version], socket.SOCK_RAW, family.protocol)
        self._outer = _OUTER[family.version]
        self._inner = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self._inner, _TUNSETIFF, struct.pack("16sH", b"inner", _IFF_TUN_NO_PI))
        self._server = _Server(family)
        self._server.backend = name  # type: ignore[attr-defined]
        self._stop, self._stopper = os.pipe()
        self._threads = [
            threading.Thread(target=self._decapsulate, daemon=True),
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True),
        ]

    def start(self) -> None:
        """Once the interface `inner` is up."""
        for thread in self._threads:
            thread.start()

    def _decapsulate(self) -> None:
        while True:
            ready, _, _ = select.select([self._tunnel.fileno(), self._stop], [], [])
            if self._stop in ready:
                return
            self._take(self._tunnel.recv(65535)[self._outer :])

    def _take(self, packet: bytes) -> None:
        is_v4 = self._family is V4
        if packet[9 if is_v4 else 6] == self._family.protocol:
            destination = ip_address(packet[16:20] if is_v4 else packet[24:40])
            inner = packet[self._family.overhead :]
            if _flow(inner) not in self._flows:
                self._onward.sendto(packet, (str(destination), 0))
                return
            packet = inner
        self._flows.add(_flow(packet))
        os.write(self._inner, packet)

    def close(self) -> None:
        """Stop the threads and close everything."""
        os.write(self._stopper, b"x")
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()
        self._tunnel.close()
        self._onward.close()
        for handle in (self._inner, self._stop, self._stopper):
            os.close(handle)


class Network(Hosts):
    """Build with `with`: everything goes away at the end, whatever happened."""

    def __init__(self, directory: Path, family: Family = V4) -> None:
        self.family = family
        super().__init__("router", *HOSTS)
        self.bpf_dir = directory / "bpf"
        self._drivers: list[XdpDataPlane] = []
        self._backends: list[Backend] = []

    def build(self) -> None:
        """Cables, addresses, routes, backends."""
        for host in self.names:
            self.inside(host, _prepare if self.family is V4 else _prepare_v6)
        for host in HOSTS:
            self._plug(host)
        self.ip("router", f"route add {self.family.vip} via {LB[self.family.version]} dev to-lb onlink")
        for host in ("backend1", "backend2"):
            self._serve(host)

    def address(self, host: str) -> IPAddress:
        """The address of client, lb, backend1 or backend2."""
        fixed = {"client": self.family.client, "lb": LB[self.family.version]}
        return fixed.get(host) or self.family.backend(int(host[-1])).address

    def gateway(self, host: str) -> str:
        """The router's address on the link to a host."""
        number = HOSTS.index(host) + 1
        return f"169.254.{number}.1" if self.family is V4 else f"fe80::{number}"

    def _plug(self, host: str) -> None:
        address, gateway = self.address(host), self.gateway(host)
        self.ip(host, f"link add eth0 type veth peer name to-{host} netns @router", f"addr add {address} dev eth0")
        self.ip("router", f"addr add {gateway}/{32 if self.family is V4 else 64} dev to-{host}")
        # Without these two, XDP on veth sees unfinished checksums, and cannot send back where it received.
        self._ethtool(host, "eth0", "tx", "off")
        self._ethtool("router", f"to-{host}", "gro", "on")
        # What GRO put together is cut again here, and needs its checksums then.
        self._ethtool("router", f"to-{host}", "tx", "off")
        self.ip(host, "link set eth0 up")
        self.ip("router", f"link set to-{host} up", f"route add {address} dev to-{host}")
        self.ip(host, f"route add default via {gateway} dev eth0 onlink")

    def _ethtool(self, host: str, interface: str, feature: str, value: str) -> None:
        self.do(host, f"ethtool -K {interface} {feature} {value}")

    def _serve(self, host: str) -> None:
        # An address of IPv6 may be bound to only after a look for duplicates, even on `lo`.
        self.ip(host, f"addr add {self.family.vip} dev lo{'' if self.family is V4 else ' nodad'}")
        backend = self.inside(host, lambda: Backend(host, self.family))
        self._backends.append(backend)
        self.ip(host, "link set inner up")
        backend.start()

    def driver(self) -> XdpDataPlane:
        """A driver that has started, as in a new process."""
        driver = XdpDataPlane(
            interfaces=("eth0",),
            tunnel_source=TUNNEL_SOURCE,
            tunnel_source_v6=TUNNEL_SOURCE_V6,
            max_services=4,
            bpf_dir=self.bpf_dir,
            flow_buckets=1024,
            idle=IdleTimes(),
        )
        self._drivers.append(driver)
        self.inside("lb", driver.start)
        return driver

    def enforce(self, driver: XdpDataPlane, *services: VirtualService) -> tuple[str, ...]:
        """Enforce on the LB node, holding the VIP."""
        return self.inside("lb", lambda: driver.enforce({self.family.vip}, services))

    def open(self, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of the network's family, in the calling thread's namespace."""
        return socket.socket(_SOCKETS[self.family.version], kind, protocol)

    def connect(self, port: int = 80) -> socket.socket:
        """A TCP connection of the client to the VIP."""
        opened = self.inside("client", lambda: self.open(socket.SOCK_STREAM))
        opened.settimeout(TIMEOUT)
        try:
            opened.connect((str(self.family.vip), port))
        except OSError:
            opened.close()
            raise
        return opened

    def udp(self) -> socket.socket:
        """A UDP socket of the client, connected to the VIP so that it hears of refusals."""
        opened = self.inside("client", lambda: self.open(socket.SOCK_DGRAM))
        opened.settimeout(TIMEOUT)
        opened.connect((str(self.family.vip), 53))
        return opened

    def listener(self, port: int) -> socket.socket:
        """A TCP listener on all addresses, in the calling thread's namespace."""
        listening = self.open(socket.SOCK_STREAM)
        listening.bind(("", port))
        listening.listen()
        return listening

    def ping(self) -> bool:
        """Whether the VIP answers the client's ping."""
        is_v4 = self.family is V4
        protocol = socket.IPPROTO_ICMP if is_v4 else socket.IPPROTO_ICMPV6
        # A raw socket of ICMPv6 fills in the checksum itself.
        request = b"\x08\x00\xf7\xff\x00\x00\x00\x00" if is_v4 else b"\x80" + bytes(7)
        answer = b"\x00" if is_v4 else b"\x81"
        raw = self.inside("client", lambda: self.open(socket.SOCK_RAW, protocol))
        with raw:
            raw.settimeout(TIMEOUT)
            raw.sendto(request, (str(self.family.vip), 0))
            while True:  # neighbour discovery is heard, too
                message, source = raw.recvfrom(100)
                if message[_OUTER[self.family.version] :][:1] == answer:
                    return bool(source[0] == str(self.family.vip))

    def __exit__(self, *_: object) -> None:
        for backend in self._backends:
            backend.close()
        for driver in self._drivers:
            driver.close()
        super().__exit__()
        unmount(self.bpf_dir)


def _flow(packet: bytes) -> bytes:
    """Addresses and ports."""
    return packet[12:24] if packet[0] >> 4 == 4 else packet[8:44]


def ask(connection: socket.socket) -> str:
    """Who is at the other end."""
    connection.sendall(b"who\n")
    return connection.recv(100).decode().strip()


def _prepare() -> None:
    disable_ipv6()
    for key, value in (("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0"), ("ip_forward", "1")):
        Path("/proc/sys/net/ipv4", key).write_text(value)


def _prepare_v6() -> None:
    # Duplicates cannot be, and looking for them takes a second.
    for key, value in (("all/forwarding", "1"), ("all/accept_dad", "0"), ("default/accept_dad", "0")):
        Path("/proc/sys/net/ipv6/conf", key).write_text(value)

"""A small data centre for the LB node, and real clients and instances in it.

    client 10.0.1.1 ---- router ---- lb 10.10.0.1 ---- near 10.30.0.2
                         | | `--------------------------' 10.31.0.2
                         | `---- lb2 10.11.0.1, which gets no packets unless a test routes them there
                         `---- hv 10.20.0.1 ---- one 10.128.0.1, two 10.128.0.2

Tunnels reach `one` and `two` by way of `hv`, which decapsulates what is addressed to them and translates the VIP's
ports to theirs. `near` shares a link with the LB node, holds the VIP, and answers clients through the router, unless
its own address 10.30.0.2 speaks: that goes back through the LB node, as network address translation wants it.

All of it has IPv6 too, and the last octet's neighbour is the last group: 10.30.0.2 is also fd00:30::2.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration, Version
from bascule.model.health_checks import HealthCheck
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod, VirtualBackend
from tests.ipvs.bench import VIP, VIPS, Node
from tests.ipvs.hypervisor import hypervise
from tests.namespaces import Hosts

INSTANCES = ("one", "two")
ADDRESSES: dict[int, dict[str, IPAddress]] = {
    4: {
        "one": ip_address("10.128.0.1"),
        "two": ip_address("10.128.0.2"),
        "near": ip_address("10.30.0.2"),
        "lb": ip_address("10.10.0.1"),
    },
    6: {
        "one": ip_address("fd00:128::1"),
        "two": ip_address("fd00:128::2"),
        "near": ip_address("fd00:30::2"),
        "lb": ip_address("fd00:10::1"),
    },
}
CLIENTS = {4: "10.0.1.1", 6: "fd00:1::1"}
CLIENT = CLIENTS[4]
TARGET_PORT = 9000
BIG = 2_000_000
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_TUNNEL = {4: 4, 6: 41}  # IPv4 in IPv4, IPv6 in IPv6
# Seconds: a guest that shares two cores with other tests may stand still for several.
PATIENCE = 20.0


def backend(
    name: str, weight: int = 1, method: ForwardingMethod = ForwardingMethod.TUNNEL, family: int = 4
) -> VirtualBackend:
    """An instance, or `near`, or the LB node itself, as a service sees it."""
    return VirtualBackend(address=ADDRESSES[family][name], weight=weight, target_port=TARGET_PORT, method=method)


def balancer(check: HealthCheck, *names: str, strategy: Strategy, family: int = 4) -> BalancerConfiguration:
    """What the control plane would want of the node: these instances behind the VIP's port 80."""
    service = ServiceConfiguration(
        id=UUID(int=2),
        protocol=Protocol.TCP,
        port=80,
        target_port=TARGET_PORT,
        strategy=strategy,
        health_check=check,
        backends=tuple(
            Backend(instance_id=UUID(int=number), address=ADDRESSES[family][name])
            for number, name in enumerate(names, start=3)
        ),
    )
    return BalancerConfiguration(
        load_balancer_id=UUID(int=1),
        version=Version(1, 1),
        address=VIPS[family],
        hash_seed=1,
        announced=True,
        services=(service,),
    )


class Answer(socketserver.StreamRequestHandler):
    """Says who answers, and whom it sees: a line for every line; `big` is answered with as many bytes."""

    def handle(self) -> None:
        """Until the client closes."""
        for line in self.rfile:
            self.wfile.write(b"x" * BIG if line == b"big\n" else words_of(self))


class Echo(socketserver.DatagramRequestHandler):
    """The same for a datagram."""

    def handle(self) -> None:
        """Once."""
        self.wfile.write(words_of(self))


def words_of(handler: socketserver.BaseRequestHandler) -> bytes:
    """The server's name, and the client's address and port as it sees them."""
    host, port, *_ = handler.client_address
    return f"{handler.server.name} {host.removeprefix('::ffff:')} {port}\n".encode()  # type: ignore[attr-defined]


class _Streams(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    address_family = socket.AF_INET6


class _Datagrams(socketserver.ThreadingUDPServer):
    address_family = socket.AF_INET6


class Centre(Hosts):
    """All hosts of the drawing; the LB node's data plane is `node`."""

    def __init__(self) -> None:
        super().__init__("client", "router", "lb", "lb2", "hv", "near", *INSTANCES)
        self._servers: list[socketserver.BaseServer] = []

    def build(self) -> None:
        """Cables, addresses, routes, servers."""
        self._wire()
        self._route()
        hypervise(self)
        for name in INSTANCES:
            self.serve(name, TARGET_PORT)
        self.node = Node(self)

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        super().__exit__()

    def serve(self, host: str, port: int, address: IPAddress | str = "::") -> None:
        """Answer TCP and UDP on a port of a host, on every address of it (of both families) unless one is named.

        By UDP an answer comes from the address that was asked only when the server has bound to that.
        """
        at = str(address) if ip_address(address).version == 6 else f"::ffff:{address}"
        for kind, handler in ((_Streams, Answer), (_Datagrams, Echo)):
            server = self.inside(host, lambda kind=kind, handler=handler: kind((at, port), handler))  # type: ignore[misc]
            server.name = host
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def unplug(self, name: str) -> None:
        """Take an instance off the network."""
        self.ip(name, "link set eth0 down")

    def plug(self, name: str) -> None:
        """Put it back: a link that was down has lost its IPv6 addresses and all of its routes."""
        self.ip(name, "link set eth0 up", f"addr replace {ADDRESSES[6][name]}/128 dev eth0 nodad")
        self._route_instance(name)

    def _route_instance(self, name: str) -> None:
        self.ip(name, "route add default via 169.254.1.1 dev eth0 onlink", "route add default via fe80::1 dev eth0")

    def connect(self, port: int = 80, family: int = 4, source: str | None = None) -> socket.socket:
        """A client's connection to the VIP."""
        vip, own = (str(VIPS[family]), port), (source or CLIENTS[family], 0)
        return self.inside("client", lambda: socket.create_connection(vip, PATIENCE, own))

    def ask(self, port: int = 80, family: int = 4) -> list[str]:
        """Who answers a new connection, and the client's address as it is seen there."""
        with self.connect(port, family) as connection:
            return ask_again(connection)

    def ask_by_datagram(self, port: int, family: int = 4) -> list[str]:
        """The same by UDP."""
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        with self.inside("client", lambda: socket.socket(kind, socket.SOCK_DGRAM)) as client:
            client.settimeout(PATIENCE)
            client.connect((str(VIPS[family]), port))
            client.send(b"hello\n")
            return client.recv(2048).decode().split()

    def tunnel_source(self, family: int) -> IPAddress:
        """Where the hypervisor sees the tunnel of a new connection come from."""
        kind = socket.htons(_ETHERTYPE[family])
        with self.inside("hv", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, kind)) as tap:
            tap.settimeout(PATIENCE)
            self.ask(family=family)
            while True:
                packet = tap.recv(2048)
                protocol, source = (packet[9], packet[12:16]) if family == 4 else (packet[6], packet[8:24])
                if protocol == _TUNNEL[family]:
                    return ip_address(source)

    def sent(self, host: str, interface: str) -> int:
        """The bytes that a host sent by an interface."""

        def read() -> int:
            for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
                name, _, numbers = line.strip().partition(":")
                if name == interface:
                    return int(numbers.split()[8])
            raise AssertionError(interface)

        return self.inside(host, read)

    def _wire(self) -> None:
        for host in self.names:
            # Nobody else has these addresses: they are to be used at once.
            self.sysctl(host, ipv6__conf__default__accept_dad=0)
        links = [("client", "eth0"), ("lb", "eth0"), ("lb2", "eth0"), ("hv", "eth0"), ("near", "eth1")]
        self.ip("router", *(f"link add {host} type veth peer name {name} netns @{host}" for host, name in links))
        self.ip("lb", "link add near type veth peer name eth0 netns @near")
        self.ip("hv", *(f"link add {name} type veth peer name eth0 netns @{name}" for name in INSTANCES))
        addresses = {
            "client": {"eth0": "10.0.1.1/24 fd00:1::1/64"},
            "router": {
                "client": "10.0.1.254/24 fd00:1::fe/64",
                "lb": "10.10.0.254/24 fd00:10::fe/64",
                "lb2": "10.11.0.254/24 fd00:11::fe/64",
                "hv": "10.20.0.254/24 fd00:20::fe/64",
                "near": "10.31.0.1/24 fd00:31::1/64",
            },
            "lb": {"eth0": "10.10.0.1/24 fd00:10::1/64", "near": "10.30.0.1/24 fd00:30::1/64"},
            "lb2": {"eth0": "10.11.0.1/24 fd00:11::1/64"},
            "hv": {"eth0": "10.20.0.1/24 fd00:20::1/64", **dict.fromkeys(INSTANCES, "169.254.1.1/32 fe80::1/64")},
            "near": {
                "eth0": "10.30.0.2/24 fd00:30::2/64",
                "eth1": "10.31.0.2/24 fd00:31::2/64",
                "lo": f"{VIP}/32 {VIPS[6]}/128",
            },
            **{name: {"eth0": f"{ADDRESSES[4][name]}/32 {ADDRESSES[6][name]}/128"} for name in INSTANCES},
        }
        for host, interfaces in addresses.items():
            self.ip(host, *(f"link set {name} up" for name in interfaces))
            pairs = [(name, each) for name, both in interfaces.items() for each in both.split()]
            self.ip(host, *(f"addr add {cidr} dev {name}" for name, cidr in pairs))

    def _route(self) -> None:
        self.ip("client", "route add default via 10.0.1.254", "route add default via fd00:1::fe")
        self.ip("router", f"route add {VIP} via 10.10.0.1", f"route add {VIPS[6]} via fd00:10::1")
        self.ip("router", "route add 10.128.0.0/16 via 10.20.0.1", "route add fd00:128::/32 via fd00:20::1")
        self.ip("lb", "route add default via 10.10.0.254", "route add default via fd00:10::fe")
        self.ip("lb2", "route add default via 10.11.0.254", "route add default via fd00:11::fe")
        self.ip("near", "rule add from 10.30.0.2 lookup 100", "route add default via 10.30.0.1 table 100")
        self.do("near", "ip -6 rule add from fd00:30::2 lookup 100")
        self.ip("near", "route add default via fd00:30::1 table 100")
        self.ip("near", "route add default via 10.31.0.1", "route add default via fd00:31::1")
        self.ip("hv", "route add default via 10.20.0.254", "route add default via fd00:20::fe")
        for name in INSTANCES:
            self.ip("hv", *(f"route add {ADDRESSES[family][name]} dev {name}" for family in VIPS))
            self._route_instance(name)
        for host in ("router", "hv"):
            self.sysctl(host, ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        for host in ("router", "lb", "lb2", "hv"):
            self.sysctl(host, ipv4__conf__all__rp_filter=0)
        # The kernel spares its ICMP errors, and some tests want every one.
        self.sysctl("lb", ipv4__icmp_ratelimit=0, ipv6__icmp__ratelimit=0)
        self.sysctl("lb", ipv4__ip_nonlocal_bind=1, ipv6__ip_nonlocal_bind=1)
        self.sysctl("near", ipv4__conf__all__rp_filter=0, ipv4__conf__all__arp_ignore=1)


def ask_again(connection: socket.socket) -> list[str]:
    """Who answers on a connection that is open."""
    connection.sendall(b"hello\n")
    return connection.recv(2048).decode().split()

"""A small data centre for the LB node, and real clients and instances in it.

    client 10.0.1.1 ---- router ---- lb 10.10.0.1 ---- near 10.30.0.2
                         | | `--------------------------' 10.31.0.2
                         | `---- lb2 10.11.0.1, which gets no packets unless a test routes them there
                         `---- hv 10.20.0.1 ---- one 10.128.0.1, two 10.128.0.2

Tunnels reach `one` and `two` by way of `hv`, which decapsulates what is addressed to them and translates the VIP's
ports to theirs. `near` shares a link with the LB node, holds the VIP, and answers clients through the router, unless
its own address 10.30.0.2 speaks: that goes back through the LB node, as network address translation wants it.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from ipaddress import IPv4Address
from pathlib import Path

from bascule.model.virtual_services import ForwardingMethod, VirtualBackend
from tests.ipvs.bench import VIP, Hosts, Node

INSTANCES = {"one": IPv4Address("10.128.0.1"), "two": IPv4Address("10.128.0.2")}
NEAR = IPv4Address("10.30.0.2")
CLIENT = "10.0.1.1"
TARGET_PORT = 9000
SERVED = ("tcp", "udp")
BIG = 2_000_000


def backend(name: str, weight: int = 1, method: ForwardingMethod = ForwardingMethod.TUNNEL) -> VirtualBackend:
    """An instance, or `near`, or the LB node itself, as a service sees it."""
    address = {**INSTANCES, "near": NEAR, "lb": IPv4Address("10.10.0.1")}[name]
    return VirtualBackend(address=address, weight=weight, target_port=TARGET_PORT, method=method)


class Answer(socketserver.StreamRequestHandler):
    """Says who answers, and whom it sees: a line for every line; `big` is answered with as many bytes."""

    def handle(self) -> None:
        """Until the client closes."""
        for line in self.rfile:
            host, port = self.client_address
            self.wfile.write(b"x" * BIG if line == b"big\n" else f"{self.server.name} {host} {port}\n".encode())  # type: ignore[attr-defined]


class Echo(socketserver.DatagramRequestHandler):
    """The same for a datagram."""

    def handle(self) -> None:
        """Once."""
        host, port = self.client_address
        self.wfile.write(f"{self.server.name} {host} {port}\n".encode())  # type: ignore[attr-defined]


class _Streams(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


class Centre(Hosts):
    """All hosts of the drawing; the LB node's data plane is `node`."""

    def __init__(self) -> None:
        super().__init__("client", "router", "lb", "lb2", "hv", "near", *INSTANCES)
        self._servers: list[socketserver.BaseServer] = []

    def __enter__(self) -> Centre:
        super().__enter__()
        try:
            self._wire()
            self._route()
            self._hypervise()
            for name in INSTANCES:
                self.serve(name, TARGET_PORT)
            self.node = Node(self)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        super().__exit__()

    def serve(self, host: str, port: int, address: str = "") -> None:
        """Answer TCP and UDP on a port of a host, on every address of it unless one is named.

        By UDP an answer comes from the address that was asked only when the server has bound to that.
        """
        kinds = ((_Streams, Answer), (socketserver.ThreadingUDPServer, Echo))
        for kind, handler in kinds:
            server = self.inside(host, lambda kind=kind, handler=handler: kind((address, port), handler))  # type: ignore[misc]
            server.name = host
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def connect(self, port: int = 80, source_port: int = 0) -> socket.socket:
        """A client's connection to the VIP."""
        source = (CLIENT, source_port)
        return self.inside("client", lambda: socket.create_connection((str(VIP), port), 5, source))

    def ask(self, port: int = 80, source_port: int = 0) -> list[str]:
        """Who answers a new connection, and the client's address as it is seen there."""
        with self.connect(port, source_port) as connection:
            return ask_again(connection)

    def ask_by_datagram(self, port: int) -> list[str]:
        """The same by UDP."""
        with self.inside("client", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.settimeout(5)
            client.connect((str(VIP), port))
            client.send(b"hello\n")
            return client.recv(2048).decode().split()

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
        links = [("client", "eth0"), ("lb", "eth0"), ("lb2", "eth0"), ("hv", "eth0"), ("near", "eth1")]
        self.ip("router", *(f"link add {host} type veth peer name {name} netns @{host}" for host, name in links))
        self.ip("lb", "link add near type veth peer name eth0 netns @near")
        self.ip("hv", *(f"link add {name} type veth peer name eth0 netns @{name}" for name in INSTANCES))
        addresses = {
            "client": {"eth0": f"{CLIENT}/24"},
            "router": {
                "client": "10.0.1.254/24",
                "lb": "10.10.0.254/24",
                "lb2": "10.11.0.254/24",
                "hv": "10.20.0.254/24",
                "near": "10.31.0.1/24",
            },
            "lb": {"eth0": "10.10.0.1/24", "near": "10.30.0.1/24"},
            "lb2": {"eth0": "10.11.0.1/24"},
            "hv": {"eth0": "10.20.0.1/24", **dict.fromkeys(INSTANCES, "169.254.1.1/32")},
            "near": {"eth0": f"{NEAR}/24", "eth1": "10.31.0.2/24", "lo": f"{VIP}/32"},
            **{name: {"eth0": f"{address}/32"} for name, address in INSTANCES.items()},
        }
        for host, interfaces in addresses.items():
            self.ip(host, *(f"addr add {cidr} dev {name}" for name, cidr in interfaces.items()))
            self.ip(host, *(f"link set {name} up" for name in interfaces))

    def _route(self) -> None:
        self.ip("client", "route add default via 10.0.1.254")
        self.ip("router", f"route add {VIP} via 10.10.0.1", "route add 10.128.0.0/16 via 10.20.0.1")
        self.ip("lb", "route add default via 10.10.0.254")
        self.ip("lb2", "route add default via 10.11.0.254")
        back = ("rule add from 10.30.0.2 lookup 100", "route add default via 10.30.0.1 table 100")
        self.ip("near", "route add default via 10.31.0.1", *back)
        ways = (f"route add {address} dev {name}" for name, address in INSTANCES.items())
        self.ip("hv", "route add default via 10.20.0.254", *ways)
        for name in INSTANCES:
            self.ip(name, "route add default via 169.254.1.1 dev eth0 onlink")
        for host in ("router", "lb", "lb2", "hv"):
            self.sysctl(host, ipv4__ip_forward=1, ipv4__conf__all__rp_filter=0)
        # The kernel spares its ICMP errors, and some tests want every one.
        self.sysctl("lb", ipv4__icmp_ratelimit=0, ipv4__ip_nonlocal_bind=1)
        self.sysctl("near", ipv4__conf__all__rp_filter=0, ipv4__conf__all__arp_ignore=1)

    def _hypervise(self) -> None:
        """What a hypervisor agent does: a mark says which instance a tunnel was for, once it is decapsulated."""
        mangle, nat = [], []
        for mark, address in enumerate(INSTANCES.values(), 0x101):
            mangle.append(f"-A PREROUTING -d {address} -p 4 -j MARK --set-mark {mark}")
            nat += [
                f"-A PREROUTING -i tunl0 -m mark --mark {mark} -d {VIP} -p {protocol}"
                f" -j DNAT --to {address}:{TARGET_PORT}"
                for protocol in SERVED
            ]
        # What no rule translates would circle between the router and the LB node.
        tables = {"mangle": mangle, "nat": nat, "filter": [f"-A FORWARD -i tunl0 -d {VIP} -j DROP"]}
        script = "".join(f"*{table}\n" + "\n".join(rules) + "\nCOMMIT\n" for table, rules in tables.items())
        self.do("hv", "iptables-legacy-restore --noflush", script)
        # Tunnels are for the instances' addresses: the kernel decapsulates only what a route calls its own.
        self.ip("hv", "rule add pref 91 fwmark 0x100/0xf00 iif eth0 lookup 200", "link set tunl0 up")
        self.ip("hv", "route add local default dev lo table 200")
        self.sysctl("hv", ipv4__conf__tunl0__rp_filter=0, ipv4__conf__eth0__rp_filter=0)


def ask_again(connection: socket.socket) -> list[str]:
    """Who answers on a connection that is open."""
    connection.sendall(b"hello\n")
    return connection.recv(2048).decode().split()

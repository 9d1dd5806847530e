"""A hypervisor, two instances and a client that doubles as LB node, each in a network namespace of its own.

client 198.51.100.2 eth0 ---- uplink0 hypervisor tap1 ---- eth0 10.128.0.11 instance1
                                                 tap2 ---- eth0 10.128.0.12 instance2
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from bascule import native
from bascule.forwarding.ebpf.driver import EbpfForwarding
from bascule.forwarding.interface import Forwarding
from bascule.forwarding.netfilter.driver import NetfilterForwarding
from bascule.forwarding.netfilter.kernel import NatTable
from bascule.forwarding.netfilter.legacy.kernel import LegacyTable
from bascule.forwarding.netfilter.table import Table
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol
from bascule.system import bpf
from bascule.system.bpffs import is_bpffs
from bascule.system.commands import run
from bascule.system.namespaces import call_in

CLIENT = IPv4Address("198.51.100.2")
VIP = IPv4Address("203.0.113.10")
INSTANCES = (IPv4Address("10.128.0.11"), IPv4Address("10.128.0.12"))
TUNNEL_SOURCES = (IPv4Network("10.98.0.0/24"), IPv4Network("10.99.0.0/16"))
TIMEOUT = 5.0  # seconds; what fails, fails by then
ENCAPSULATE = Path(__file__).with_name("encapsulate.bpf.c")
# What the forwarding `netfilter` translates by; the kernel decides for itself unless it is told.
_TABLES: dict[str, Callable[[int], Table]] = {"netfilter": NatTable, "iptables": LegacyTable}

T = TypeVar("T")


class Network:
    """Build with `with`: everything goes away at the end, whatever happened."""

    def __init__(self, directory: Path, forwarding: str = "ebpf") -> None:
        """`forwarding` names the driver, as the agent's settings do, or is `iptables`: `netfilter` without nftables."""
        self.forwarding = forwarding
        self._name = f"t{uuid.uuid4().hex[:8]}"
        self._directory = directory
        self.bpf_dir = directory / "bpf"
        self._encapsulation: bpf.BpfObject | None = None
        self._drivers: list[Forwarding] = []

    def namespace(self, host: str) -> str:
        """The namespace of client, hypervisor, instance1 or instance2."""
        return f"{self._name}-{host}"

    def inside(self, host: str, function: Callable[[], T]) -> T:
        """Call a function inside a host's namespace."""
        return call_in(self.namespace(host), function)

    def ip(self, host: str, words: str) -> str:
        """`ip ...` inside a host's namespace."""
        return run(["ip", "-n", self.namespace(host), *words.split()])

    def __enter__(self) -> Network:
        try:
            for host in ("client", "hypervisor", "instance1", "instance2"):
                run(["ip", "netns", "add", self.namespace(host)])
                self.ip(host, "link set lo up")
                self.inside(host, _allow_asymmetric_routes)
            self.inside("hypervisor", lambda: sysctl("ip_forward", "1"))
            self._plug("client", "eth0", f"{CLIENT}/24", "uplink0", "198.51.100.1/24")
            self.ip("client", "route add default via 198.51.100.1")
            for number in (1, 2):
                self.add_instance(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def add_instance(self, number: int) -> None:
        """Give an instance its interface, as when it boots."""
        self._plug(f"instance{number}", "eth0", f"{INSTANCES[number - 1]}/32", f"tap{number}", "169.254.1.1/32")
        self.ip(f"instance{number}", "route add default via 169.254.1.1 dev eth0 onlink")
        self.ip("hypervisor", f"route add {INSTANCES[number - 1]} dev tap{number}")

    def _plug(self, host: str, inner: str, inner_address: str, outer: str, outer_address: str) -> None:
        hypervisor = self.namespace("hypervisor")
        self.ip(host, f"link add {inner} type veth peer name {outer} netns {hypervisor}")
        for end, name, address in ((host, inner, inner_address), ("hypervisor", outer, outer_address)):
            self.ip(end, f"addr add {address} dev {name}")
            self.ip(end, f"link set {name} up")

    def tunnel(self, port: int, instance: IPv4Address) -> None:
        """Make the client's LB node send what goes to VIP:port to the instance."""
        if self._encapsulation is None:
            self._encapsulation = bpf.BpfObject(compile_encapsulation(self._directory))
            program = self._encapsulation.program("encapsulate")
            self.inside("client", lambda: bpf.attach_tc(_index("eth0"), program, egress=True))
        key = VIP.packed + port.to_bytes(2, "big") + bytes(2)
        self._encapsulation.map("instances").set(key, instance.packed)

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
        return self.inside(host, lambda: socket.create_server(("0.0.0.0", port)))

    def connect(self, address: IPv4Address, port: int, *, host: str = "client", source_port: int = 0) -> socket.socket:
        """A TCP connection, of the client unless another host is named."""
        opened = self.inside(host, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        opened.settimeout(TIMEOUT)
        # A port whose last connection ended just now may be used again, to another destination.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(("0.0.0.0", source_port))
        opened.connect((str(address), port))
        return opened

    def udp(self, host: str, port: int = 0) -> socket.socket:
        """A UDP socket bound to the port."""
        opened = self.inside(host, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        opened.settimeout(TIMEOUT)
        opened.bind(("0.0.0.0", port))
        return opened

    def send_raw(self, packet: bytes) -> None:
        """Send an IPv4 packet from the client, its header as given."""
        with self.inside("client", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)) as raw:
            raw.sendto(packet, (str(IPv4Address(packet[16:20])), 0))

    def __exit__(self, *_: object) -> None:
        for host in ("client", "hypervisor", "instance1", "instance2"):
            subprocess.run(["ip", "netns", "del", self.namespace(host)], capture_output=True, check=False)
        for driver in self._drivers:
            driver.close()
        if self._encapsulation is not None:
            self._encapsulation.close()
        if self.bpf_dir.exists() and is_bpffs(self.bpf_dir):
            run(["umount", str(self.bpf_dir)])


def _new_driver(forwarding: str, bpf_dir: Path) -> Forwarding:
    if forwarding in _TABLES:
        tables = (_TABLES[forwarding],)
        return NetfilterForwarding(uplinks=("uplink0",), tunnel_sources=TUNNEL_SOURCES, tunnel_mtu=1480, tables=tables)
    return EbpfForwarding(uplinks=("uplink0",), tunnel_sources=TUNNEL_SOURCES, tunnel_mtu=1480, bpf_dir=bpf_dir)


def rule(port: int, instance: IPv4Address, target_port: int, protocol: Protocol = Protocol.TCP) -> ForwardingRule:
    """A rule of the VIP."""
    return ForwardingRule(VIP, protocol, port, instance, target_port)


def sysctl(key: str, value: str) -> None:
    """Set a sysctl of IPv4 in the calling thread's namespace."""
    Path("/proc/sys/net/ipv4", key).write_text(value)


def until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for the condition; fail with `what` was expected."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"waited {TIMEOUT:g} s for {what}"
        time.sleep(0.01)


def reason_to_skip() -> str:
    """What these tests miss on this machine; empty when nothing."""
    if os.geteuid() != 0:
        return "needs root for network namespaces and BPF"
    if not (native.DIRECTORY / "tc_hypervisor.bpf.o").exists():
        return "needs tc_hypervisor.bpf.o: run `make native`"
    missing = [tool for tool in ("ip", "clang") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


def without_iptables() -> str:
    """Why iptables-legacy cannot translate here; empty when it can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    try:
        LegacyTable(largest_segment=1440).start()
    except SystemFailure as failure:
        return f"needs iptables-legacy: {failure.sentence}"
    return ""


def _allow_asymmetric_routes() -> None:
    for which in ("all", "default"):
        sysctl(f"conf/{which}/rp_filter", "0")


def _index(name: str) -> int:
    return socket.if_nametoindex(name)


def compile_encapsulation(directory: Path) -> Path:
    """Compile the LB node of these tests; returns the object."""
    compiled = directory / "encapsulate.bpf.o"
    headers = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    run(["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", headers, "-c", str(ENCAPSULATE), "-o", str(compiled)])
    return compiled

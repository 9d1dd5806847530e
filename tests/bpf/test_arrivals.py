"""Packets of an instance on a hypervisor that awaits it, through the kernel's own rules."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest

from bascule.forwarding.ebpf.arrivals import SETTLING, Arrivals
from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol
from tests.namespaces import Hosts

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft"),
]

INSTANCE, PORT = IPv4Address("10.9.1.2"), 8080
RULE = ForwardingRule(IPv4Address("192.0.2.1"), Protocol.TCP, 80, INSTANCE, target_port=PORT)


class Path3(Hosts):
    """An instance, its hypervisor, and a client behind that."""

    def __init__(self) -> None:
        super().__init__("vm", "hv", "client")

    def build(self) -> None:
        """Two links and routes."""
        for host, net in (("vm", 1), ("client", 2)):
            self.ip(host, f"link add eth0 type veth peer name {host} netns @hv")
            self.ip("hv", f"addr add 10.9.{net}.1/24 dev {host}", f"link set {host} up")
            self.ip(
                host, f"addr add 10.9.{net}.2/24 dev eth0", "link set eth0 up", f"route add default via 10.9.{net}.1"
            )
        self.sysctl("hv", ipv4__ip_forward=1)


def silent(client: socket.socket) -> None:
    """It hears nothing, also of what is sent again."""
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.recv(100)
    client.settimeout(10)


def test_an_awaited_instance_waits_until_it_is_spoken_to() -> None:
    """What it says is held back until it is here and its client was heard since, not before; new connections begin."""
    with Path3() as hosts, ExitStack() as stack:
        listener = stack.enter_context(hosts.inside("vm", lambda: socket.create_server((str(INSTANCE), PORT))))

        def connected() -> tuple[socket.socket, socket.socket]:
            place = (str(INSTANCE), PORT)
            client = hosts.inside("client", lambda: socket.create_connection(place, timeout=10))
            server, _ = listener.accept()
            return stack.enter_context(client), stack.enter_context(server)

        (eager, first), (quiet, second) = connected(), connected()
        arrivals = Arrivals()
        hosts.inside("hv", lambda: arrivals.enforce([RULE], set()))
        connected()
        for server in (first, second):
            server.sendall(b"before it came\n")
        # Heard too early: no program is on the interface that would translate the reply.
        eager.sendall(b"are you there?\n")
        assert first.recv(100) == b"are you there?\n"
        silent(eager)
        hosts.inside("hv", lambda: arrivals.enforce([RULE], {INSTANCE}))
        silent(quiet)
        quiet.sendall(b"and now?\n")
        assert quiet.recv(100) == b"before it came\n"
        # It asks again, for its question was not acknowledged.
        assert eager.recv(100) == b"before it came\n"


def test_who_settled_may_speak() -> None:
    """Some time after it came nothing is held back any more, and nothing is left in the kernel."""
    with Path3() as hosts:
        clock = [100.0]
        arrivals = Arrivals(now=lambda: clock[0])
        for name, here in (("awaited4", set()), ("settling4", {INSTANCE})):
            hosts.inside("hv", lambda here=here: arrivals.enforce([RULE], here))  # type: ignore[misc]
            assert f"{INSTANCE} . {PORT} timeout" in hosts.do("hv", f"nft list set inet bascule-arrivals {name}")
        clock[0] += SETTLING + 0.1
        hosts.inside("hv", lambda: arrivals.enforce([RULE], {INSTANCE}))
        assert "bascule-arrivals" not in hosts.do("hv", "nft list tables")

"""The data plane keepalived with a VIP and instances of IPv6."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bascule.model.health_checks import Health
from bascule.model.strategies import Protocol
from tests.ipvs.bench import VIPS
from tests.ipvs.centre import ADDRESSES, CLIENTS, Centre, ask_again, backend
from tests.ipvs.keepalived_bench import TCP_CHECK, Node, checked, healths, serve, until

VIP = VIPS[6]
pytestmark = [pytest.mark.root, pytest.mark.guest, pytest.mark.parametrize("node", [VIP], indirect=True, ids=str)]
ONE, TWO = ADDRESSES[6]["one"], ADDRESSES[6]["two"]
WEB = checked(backend("one", family=6), backend("two", family=6), family=6)
NAMES = checked(backend("one", family=6), family=6, port=53, protocol=Protocol.UDP)
LONG = b"x" * 100_000 + b"\n"
DAMAGE = (
    "ipvsadm --clear",
    f"ip addr del {VIP}/128 dev lo",
    "ip -6 addr flush dev uplink scope global",
    "ip -6 addr add fd00:ba5c:1::2/128 dev uplink nodad",
    "ip link set uplink down",
    "ip -6 route del default",
    "ip neigh del fe80::ba5c dev uplink",
    "sysctl -qw net.ipv6.conf.uplink.disable_ipv6=1",
)


def test_an_instance_sees_the_client(centre: Centre, node: Node) -> None:
    """TCP and UDP arrive from the client's own address, in tunnels whose source is one of ours, however long."""
    serve(node, WEB, NAMES)
    assert node.observe().ready == {VIP}
    assert centre.tunnel_source(6) == node.names.source
    with centre.connect(family=6) as connection:
        assert ask_again(connection)[1:] == [CLIENTS[6], str(connection.getsockname()[1])]
        connection.sendall(LONG)
        assert connection.recv(2048).decode().split()[1] == CLIENTS[6]
    assert centre.ask_by_datagram(53, family=6)[:2] == ["one", CLIENTS[6]]
    assert {centre.ask(family=6)[0] for _ in range(8)} == {"one", "two"}
    assert node.enforce(WEB, NAMES) == ()


@pytest.mark.slow
def test_an_instance_that_fails_is_left_out_until_it_is_back(centre: Centre, node: Node) -> None:
    """A check over IPv6 judges it; without any, and where no service is, the VIP refuses by TCP and UDP."""
    serve(node, WEB)
    centre.ip("two", f"addr del {TWO}/128 dev eth0")
    until(node, WEB, condition=lambda: healths(node) == {ONE: Health.SUCCESS, TWO: Health.FAILURE})
    assert {centre.ask(family=6)[0] for _ in range(4)} == {"one"}
    centre.ip("two", f"addr add {TWO}/128 dev eth0")
    until(node, WEB, condition=lambda: healths(node)[TWO] is Health.SUCCESS)
    assert {centre.ask(family=6)[0] for _ in range(4)} == {"one", "two"}
    nobody = replace(WEB, health_check=replace(TCP_CHECK, port=1))
    serve(node, nobody, replace(NAMES, health_check=nobody.health_check))
    for port in (80, 81):
        with pytest.raises(ConnectionRefusedError):
            centre.connect(port, family=6)
    for port in (53, 54):
        with pytest.raises(ConnectionRefusedError):
            centre.ask_by_datagram(port, family=6)


def test_the_sorry_server_serves_without_a_quorum(centre: Centre, node: Node) -> None:
    """Also where the weight of all instances together is not enough."""
    for quorum in (2, 9):
        web = checked(backend("one", family=6), family=6, check=replace(TCP_CHECK, quorum=quorum, sorry_server=TWO))
        serve(node, web)
        until(node, web, condition=lambda: healths(node) == {ONE: Health.SUCCESS, TWO: None})
        assert {centre.ask(family=6)[0] for _ in range(4)} == {"two"}


@pytest.mark.slow
def test_damage_is_repaired(centre: Centre, node: Node) -> None:
    """What somebody else changed in the namespace or on its link is put right by the next pass; then all is quiet."""
    serve(node, WEB)
    outside = (f"ip -6 route del {VIP}/128 dev {node.names.link}", "sysctl -qw net.ipv6.conf.all.forwarding=0")
    for damage in (*DAMAGE, *outside):
        if damage in outside:
            centre.do("lb", damage)
        else:
            node.do(damage)
        assert node.observe().ready == frozenset(), damage
        assert node.enforce(WEB), damage
        assert node.enforce(WEB) == (), damage
        assert node.observe().ready == {VIP}, damage
        assert {centre.ask(family=6)[0] for _ in range(6)} == {"one", "two"}, damage
    assert centre.tunnel_source(6) == node.names.source

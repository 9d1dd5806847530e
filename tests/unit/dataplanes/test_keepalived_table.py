"""What keepalived says of itself, and what IPVS must have then."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest

from bascule.dataplanes.ipvs.entries import PERSISTENT, Destination, VirtualServer
from bascule.dataplanes.keepalived.naming import names, owned
from bascule.dataplanes.keepalived.state import Instance, Running, Server, parse
from bascule.dataplanes.keepalived.table import health_of, table
from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode, OnFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod, Persistence, ServiceKey, VirtualBackend, VirtualService

# Shortened from what keepalived 2.2.7 wrote.
ANSWER = """\
------< LVS Topology >------
 ------< Virtual server >------
 VS VIP = 203.0.113.10, VPORT = 80
   SNMP name = '5ca5d9a9c451f74e'
   protocol = TCP
   quorum = 1, hysteresis = 0
   sorry server = [10.128.0.9]:tcp:80
   alive = 1
   quorum_state_up = 1
   ------< Real server >------
   RIP = 10.128.0.1, RPORT = 80, WEIGHT = 3 EFF WEIGHT = 3
   alive = 1
   RS set = 1
   ------< Real server >------
   RIP = 10.128.0.2, RPORT = 80, WEIGHT = 1 EFF WEIGHT = 1
   alive = 0
   RS set = 0
 ------< Virtual server >------
 VS VIP = 2001:db8::80, VPORT = 53
   SNMP name = '5ca5d9a9c451f74e'
   protocol = UDP
   alive = 1
   quorum_state_up = 0
------< Health checkers >------
 [203.0.113.10]:tcp:80 -> [10.128.0.1]:tcp:9000
   Up = yes
   Has run = yes
 [203.0.113.10]:tcp:80 -> [10.128.0.2]:tcp:9000
   Up = no
   Has run = no
   Keepalive method = HTTP_GET
     Path = /   Has run = yes
"""
KEY = ServiceKey(ip_address("203.0.113.10"), Protocol.TCP, 80)
ONE, TWO, SORRY = (ip_address(f"10.128.0.{last}") for last in (1, 2, 9))
CHECK = HealthCheck(mode=HealthCheckMode.TCP, port=9000)
WITH_SORRY = replace(CHECK, sorry_server=SORRY)
SERVICE = VirtualService(
    key=KEY,
    strategy=Strategy.ROUND_ROBIN,
    hash_source_port=True,
    hash_seed=0,
    health_check=CHECK,
    backends=tuple(VirtualBackend(address=each, weight=1, target_port=9000) for each in (ONE, TWO)),
)
UP, DOWN, NEW = Instance(3, alive=True, checked=True), Instance(1, checked=True), Instance(1, checked=False)
UNCHECKED = Instance(3, alive=True)


def running(one: Instance, two: Instance, *, up: bool = True) -> Running:
    """What keepalived says of the service."""
    return Running("x", {KEY: Server(up, {ONE: one, TWO: two})})


def destinations(service: VirtualService, state: Running, **before: int) -> dict[str, int]:
    """Which addresses IPVS must have with which weight; `before` are those that it has: `a1` is ONE."""
    present = VirtualServer(
        key=KEY,
        scheduler="wrr",
        destinations=tuple(
            Destination(
                address=ip_address(f"10.128.0.{name[1:]}"), port=80, method=ForwardingMethod.TUNNEL, weight=weight
            )
            for name, weight in before.items()
        ),
    )
    (server,) = table([service], state, [present])
    return {f"a{int(each.address) & 255}": each.weight for each in server.destinations}


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("state", [UP, DOWN, UNCHECKED])
def test_a_draining_instance_keeps_its_connections(state: Instance, up: bool) -> None:
    """Whatever its check says, whatever a script gives it, and while the sorry server serves."""
    drains = VirtualBackend(address=TWO, weight=0, target_port=9000)
    service = replace(SERVICE, backends=(SERVICE.backends[0], drains), health_check=WITH_SORRY)
    assert destinations(service, running(UP, state, up=up), a1=3, a2=1)["a2"] == 0


def test_an_answer_is_read() -> None:
    """Names, states, weights, and which checks have ended; what a user wrote cannot look like a line of it."""
    seen = parse(ANSWER)
    assert seen.name == "5ca5d9a9c451f74e"
    web, names_ = seen.servers.values()
    assert web == Server(True, {ONE: Instance(3, alive=True, checked=True), TWO: Instance(1, checked=False)})
    assert (str(list(seen.servers)[1]), names_.up) == ("udp [2001:db8::80]:53", False)


@pytest.mark.parametrize(
    ("check", "state", "before", "after"),
    [
        (CHECK, running(UP, DOWN), {}, {"a1": 3}),
        (CHECK, running(UP, DOWN), {"a1": 3, "a2": 1, "a7": 1}, {"a1": 3}),
        (replace(CHECK, on_failure=OnFailure.INHIBIT), running(UP, DOWN), {}, {"a1": 3, "a2": 0}),
        (CHECK, running(NEW, NEW), {"a1": 5}, {"a1": 5}),
        (CHECK, Running(), {"a2": 1}, {"a2": 1}),
        (CHECK, running(UP, UNCHECKED), {"a1": 3, "a2": 1}, {"a1": 3}),
        (CHECK, running(UP, DOWN, up=False), {}, {"a1": 3}),
        (WITH_SORRY, running(UP, DOWN, up=False), {}, {"a9": 1}),
        (WITH_SORRY, running(UP, DOWN), {"a9": 1}, {"a1": 3}),
        (replace(WITH_SORRY, on_failure=OnFailure.INHIBIT), running(UP, UP), {"a9": 1}, {"a1": 3, "a2": 3, "a9": 0}),
        (replace(WITH_SORRY, on_failure=OnFailure.INHIBIT), running(UP, UP, up=False), {}, {"a1": 0, "a2": 0, "a9": 1}),
    ],
)
def test_the_table_follows_keepalived(
    check: HealthCheck, state: Running, before: dict[str, int], after: dict[str, int]
) -> None:
    """Who serves with which weight, in health, failure, doubt and without a quorum."""
    assert destinations(replace(SERVICE, health_check=check), state, **before) == after


def test_without_instances_the_sorry_server_serves() -> None:
    """keepalived does not even know of such a service."""
    assert destinations(replace(SERVICE, health_check=WITH_SORRY, backends=()), Running()) == {"a9": 1}
    assert destinations(replace(SERVICE, backends=()), Running()) == {}


def test_persistence_is_in_the_entry() -> None:
    """A persistent service is one in IPVS too."""
    (server,) = table([replace(SERVICE, persistence=Persistence(timeout=77))], running(UP, UP), ())
    assert (server.flags & PERSISTENT, server.timeout) == (PERSISTENT, 77)


@pytest.mark.parametrize(
    ("instance", "health"),
    [
        (None, Health.UNKNOWN),
        (NEW, Health.UNKNOWN),
        (UP, Health.SUCCESS),
        (DOWN, Health.FAILURE),
        (UNCHECKED, Health.FAILURE),
    ],
)
def test_health_is_unknown_before_the_first_check(instance: Instance | None, health: Health) -> None:
    """And nobody's where there is no check."""
    assert health_of(SERVICE, instance) is health
    assert health_of(replace(SERVICE, health_check=None), instance) is None


SOURCES: dict[int, IPNetwork] = {4: IPv4Network("10.99.0.0/16"), 6: IPv6Network("fd00:99::/64")}
V6 = ip_address("2001:db8:203::10")


@pytest.mark.parametrize("address", [KEY.address, V6])
def test_only_our_own_namespaces_are_ours(address: IPAddress) -> None:
    """Those of a node whose name begins like ours, and what is no address, are others'."""
    mine = names("lb", address, SOURCES)
    assert owned("lb", [mine.namespace, "bascule-lb-2-203.0.113.10", "bascule-lb-x", "lb", "bascule-lb-1"]) == {address}
    assert len(mine.link) <= 15
    assert mine.source in SOURCES[address.version]
    assert names("lb2", address, SOURCES).source == mine.source


def test_a_tunnel_source_may_be_a_single_address() -> None:
    """Of either family."""
    alone: dict[int, IPNetwork] = {4: IPv4Network("10.99.0.1/32"), 6: IPv6Network("fd00:99::1/128")}
    assert names("lb", KEY.address, alone).source == ip_address("10.99.0.1")
    assert names("lb", V6, alone).source == ip_address("fd00:99::1")

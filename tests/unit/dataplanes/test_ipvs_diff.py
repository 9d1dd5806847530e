"""What IPVS's table should be, and the fewest changes to it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.dataplanes.ipvs import layout
from bascule.dataplanes.ipvs.diff import Change, diff
from bascule.dataplanes.ipvs.entries import FALLBACK, PERSISTENT, WITH_PORT, Destination, VirtualServer
from bascule.dataplanes.ipvs.translate import misfit, refuse, translate
from bascule.model.addresses import IPAddress
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod, Persistence, ServiceKey, VirtualBackend, VirtualService

VIP = IPv4Address("203.0.113.10")
VIP6 = IPv6Address("2001:db8::10")
KEYS = st.builds(ServiceKey, st.sampled_from([VIP, VIP6]), st.sampled_from(Protocol), st.integers(80, 81))
DESTINATIONS = st.builds(
    Destination,
    address=st.integers(1, 3).map(lambda last: IPv4Address("10.128.0.0") + last) | st.just(IPv6Address("fd00::1")),
    port=st.sampled_from([80, 9000]),
    method=st.sampled_from(ForwardingMethod),
    weight=st.integers(0, 3),
)
SERVERS = st.builds(
    VirtualServer,
    key=KEYS,
    scheduler=st.sampled_from(["mh", "sh", "wrr"]),
    flags=st.sampled_from([0, PERSISTENT, FALLBACK, FALLBACK | WITH_PORT]),
    prefix_length=st.sampled_from([None, 24]),
    destinations=st.lists(DESTINATIONS, max_size=5, unique_by=lambda each: each.place).map(tuple),
)
TABLES = st.lists(SERVERS, max_size=5, unique_by=lambda each: each.key).map(tuple)
Table = dict[ServiceKey, VirtualServer]


def table(servers: tuple[VirtualServer, ...]) -> Table:
    """A kernel that has these; the order of destinations means nothing."""
    return {each.key: replace(each, destinations=tuple(sorted(each.destinations, key=place))) for each in servers}


def place(destination: Destination) -> tuple[str, int]:
    """What the kernel tells destinations by, in an order."""
    return str(destination.address), destination.port


def obey(kernel: Table, change: Change) -> None:
    """What the kernel does, and refuses to do."""
    key, to = change.server.key, change.destination
    if to is None:
        assert (change.action == "add") == (key not in kernel)
        old = kernel.pop(key, None)
        if change.action != "del":
            kernel[key] = replace(change.server, destinations=old.destinations if old else ())
        return
    others = [each for each in kernel[key].destinations if each.place != to.place]
    assert (change.action == "add") == (len(others) == len(kernel[key].destinations))
    left = others if change.action == "del" else [*others, to]
    kernel[key] = replace(kernel[key], destinations=tuple(sorted(left, key=place)))


@given(TABLES, TABLES)
def test_the_changes_lead_there(present: tuple[VirtualServer, ...], wanted: tuple[VirtualServer, ...]) -> None:
    """From any table to any other, by requests that the kernel takes; no server is empty on the way between two."""
    kernel, goal = table(present), table(wanted)
    full = {key for key in kernel.keys() & goal.keys() if kernel[key].destinations and goal[key].destinations}
    for change in diff(present, wanted):
        obey(kernel, change)
        assert all(kernel[key].destinations for key in full)
    assert kernel == goal


@given(TABLES)
def test_the_same_needs_no_change(servers: tuple[VirtualServer, ...]) -> None:
    """A table that is as wanted, in whatever order, is left alone."""
    assert diff(reversed(servers), [replace(each, destinations=each.destinations[::-1]) for each in servers]) == ()


def test_a_weight_is_one_request() -> None:
    """A weight that changes touches one destination, not its server, nor the others."""
    one, two = (VirtualBackend(address=IPv4Address(f"10.128.0.{n}"), weight=1, target_port=9000) for n in (1, 2))
    before, after = (
        translate(service(Strategy.MAGLEV_HASH, (one, replace(two, weight=weight)), with_port=True))
        for weight in (1, 5)
    )
    (change,) = diff([before], [after])
    assert (change.action, change.destination) == ("set", after.destinations[1])
    assert change.sentence == "Changed destination 10.128.0.2:80 of tcp 203.0.113.10:80: tunnel, weight 5."


@pytest.mark.parametrize(
    ("strategy", "with_port", "scheduler", "flags"),
    [
        (Strategy.ROUND_ROBIN, True, "wrr", 0),
        (Strategy.SOURCE_HASH, False, "sh", FALLBACK),
        (Strategy.SOURCE_HASH, True, "sh", FALLBACK | WITH_PORT),
        (Strategy.MAGLEV_HASH, False, "mh", FALLBACK),
        (Strategy.MAGLEV_HASH, True, "mh", FALLBACK | WITH_PORT),
    ],
)
def test_strategies_have_their_schedulers(strategy: Strategy, with_port: bool, scheduler: str, flags: int) -> None:
    """Each strategy is a scheduler of the kernel; hashes fall back, and take the port if the service says so."""
    server = translate(service(strategy, (), with_port=with_port))
    assert (server.scheduler, server.flags) == (scheduler, flags)


@pytest.mark.parametrize(("vip", "whole"), [(VIP, 32), (VIP6, 128)])
def test_clients_are_kept_by_address_or_by_network(vip: IPAddress, whole: int) -> None:
    """Persistence is a flag, a time and a prefix length; the kernel has the whole address's where none is said."""
    plain = service(Strategy.SOURCE_HASH, (), with_port=False, vip=vip)
    assert translate(plain).settings == ("sh", FALLBACK, 0, whole)
    for prefix_length, bits in ((None, whole), (20, 20)):
        kept = translate(replace(plain, persistence=Persistence(timeout=90, prefix_length=prefix_length)))
        assert kept.settings == ("sh", FALLBACK | PERSISTENT, 90, bits)


@pytest.mark.parametrize("prefix_length", [None, 1, 20, 32])
@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_the_bytes_say_what_the_entry_says(vip: IPAddress, prefix_length: int | None) -> None:
    """What is written about a server and a destination of either family is read back the same."""
    server = VirtualServer(
        key=ServiceKey(vip, Protocol.UDP, 53),
        scheduler="wrr",
        flags=PERSISTENT,
        timeout=60,
        prefix_length=prefix_length,
    )
    stats = layout.attribute(12, layout.attribute(2, bytes(8)) + layout.attribute(4, bytes(8)))
    (written,) = layout.attributes(layout.service(server)).values()
    found, _, _ = layout.parse_server(bytes(4) + layout.attribute(1, written + stats))
    assert found is not None
    assert (found.key, found.settings) == (server.key, server.settings)
    to = Destination(address=vip, port=53, method=ForwardingMethod.TUNNEL, weight=7)
    (written,) = layout.attributes(layout.destination(to)).values()
    counts = b"".join(layout.attribute(kind, bytes(4)) for kind in (7, 8))
    assert layout.parse_destination(bytes(4) + layout.attribute(2, written + counts + stats))[0] == to


@pytest.mark.parametrize("method", ForwardingMethod)
@pytest.mark.parametrize(("vip", "other"), [(VIP, IPv6Address("fd00::1")), (VIP6, IPv4Address("10.128.0.1"))])
def test_families_meet_by_tunnel_only(vip: IPAddress, other: IPAddress, method: ForwardingMethod) -> None:
    """A service with a backend of another family does not fit, with words, unless a tunnel leads there."""
    backend = VirtualBackend(address=other, weight=1, target_port=80, method=method)
    reason = misfit(service(Strategy.ROUND_ROBIN, (backend,), with_port=True, vip=vip))
    assert (reason is None) == (method is ForwardingMethod.TUNNEL)
    assert reason is None or "by tunnel only" in reason


@pytest.mark.parametrize(
    ("vip", "persistence"),
    [
        (VIP, Persistence(timeout=60, prefix_length=33)),
        (VIP, Persistence(timeout=60, prefix_length=0)),
        (VIP6, Persistence(timeout=60, prefix_length=129)),
        (VIP6, Persistence(timeout=0)),
        (VIP6, Persistence(timeout=2**31)),
    ],
)
def test_clients_cannot_be_kept_otherwise(vip: IPAddress, persistence: Persistence) -> None:
    """Networks that the family has not, and times that the kernel has not, do not fit."""
    plain = service(Strategy.ROUND_ROBIN, (), with_port=True, vip=vip)
    assert misfit(plain) is None
    assert "Choose 1 to" in (misfit(replace(plain, persistence=persistence)) or "")


@pytest.mark.parametrize("method", ForwardingMethod)
def test_only_translation_changes_the_port(method: ForwardingMethod) -> None:
    """The other methods leave the packet as it is: the destination has the service's port."""
    backend = VirtualBackend(address=IPv4Address("10.128.0.1"), weight=1, target_port=9000, method=method)
    (destination,) = translate(service(Strategy.ROUND_ROBIN, (backend,), with_port=True)).destinations
    assert destination.port == (9000 if method is ForwardingMethod.TRANSLATION else 80)


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_every_address_refuses_by_every_protocol(vip: IPAddress) -> None:
    """What no service takes meets a server without destinations; the kernel wants such a one persistent."""
    found = refuse([vip])
    assert {each.key.address for each in found} == {vip}
    assert {each.key.protocol for each in found} == set(Protocol)
    assert all((each.key.port, each.flags, each.destinations) == (0, PERSISTENT, ()) for each in found)


def service(
    strategy: Strategy, backends: tuple[VirtualBackend, ...], *, with_port: bool, vip: IPAddress = VIP
) -> VirtualService:
    """A service of the VIP."""
    key = ServiceKey(vip, Protocol.TCP, 80)
    return VirtualService(key=key, strategy=strategy, hash_source_port=with_port, hash_seed=0, backends=backends)

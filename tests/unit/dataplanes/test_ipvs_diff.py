"""What IPVS's table should be, and the fewest changes to it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.dataplanes.ipvs.diff import Change, diff
from bascule.dataplanes.ipvs.entries import FALLBACK, PERSISTENT, WITH_PORT, Destination, VirtualServer
from bascule.dataplanes.ipvs.translate import refuse, translate
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod, ServiceKey, VirtualBackend, VirtualService

VIP = IPv4Address("203.0.113.10")
KEYS = st.builds(ServiceKey, st.just(VIP), st.sampled_from(Protocol), st.integers(80, 83))
DESTINATIONS = st.builds(
    Destination,
    address=st.integers(1, 4).map(lambda last: IPv4Address("10.128.0.0") + last),
    port=st.sampled_from([80, 9000]),
    method=st.sampled_from(ForwardingMethod),
    weight=st.integers(0, 3),
)
SERVERS = st.builds(
    VirtualServer,
    key=KEYS,
    scheduler=st.sampled_from(["mh", "sh", "wrr"]),
    flags=st.sampled_from([0, FALLBACK, FALLBACK | WITH_PORT]),
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


@pytest.mark.parametrize("method", ForwardingMethod)
def test_only_translation_changes_the_port(method: ForwardingMethod) -> None:
    """The other methods leave the packet as it is: the destination has the service's port."""
    backend = VirtualBackend(address=IPv4Address("10.128.0.1"), weight=1, target_port=9000, method=method)
    (destination,) = translate(service(Strategy.ROUND_ROBIN, (backend,), with_port=True)).destinations
    assert destination.port == (9000 if method is ForwardingMethod.TRANSLATION else 80)


def test_every_address_refuses_by_every_protocol() -> None:
    """What no service takes meets a server without destinations; the kernel wants such a one persistent."""
    found = refuse([VIP])
    assert {each.key.protocol for each in found} == set(Protocol)
    assert all((each.key.port, each.flags, each.destinations) == (0, PERSISTENT, ()) for each in found)


def service(strategy: Strategy, backends: tuple[VirtualBackend, ...], *, with_port: bool) -> VirtualService:
    """A service of the VIP."""
    key = ServiceKey(VIP, Protocol.TCP, 80)
    return VirtualService(key=key, strategy=strategy, hash_source_port=with_port, hash_seed=0, backends=backends)

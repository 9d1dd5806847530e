"""The bytes and names that Python shares with the XDP program."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.dataplanes.xdp import layout
from bascule.dataplanes.xdp.layout import BackendEntry
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ServiceKey, VirtualService

HEADERS = Path(__file__).parents[3] / "bpf"
ADDRESSES = st.integers(1, 2**32 - 1).map(IPv4Address) | st.integers(1, 2**128 - 1).map(IPv6Address)
KEYS = st.builds(ServiceKey, ADDRESSES, st.sampled_from(Protocol), st.integers(1, 65535))


def service(key: ServiceKey, strategy: Strategy = Strategy.MAGLEV_HASH) -> VirtualService:
    """A service without backends."""
    return VirtualService(key=key, strategy=strategy, hash_source_port=True, hash_seed=7)


def test_counters_have_the_names_of_the_header() -> None:
    """`enum fate` and FATES list the same names in the same order."""
    body = re.search(r"enum fate \{(.*?)\};", (HEADERS / "counters.h").read_text(), re.DOTALL)
    assert body is not None
    names = re.findall(r"^\t([A-Z_0-9]+),", body.group(1), re.MULTILINE)
    assert tuple(name.lower() for name in names) == (*layout.FATES, "fates")


@pytest.mark.parametrize(
    "name", ["SERVICE_SLOTS", "SERVICE_PROBES", "RING_SLOTS", "SEQUENCE_SLOTS", "BACKENDS_MAX", "BUCKET_FLOWS"]
)
def test_sizes_are_those_of_the_header(name: str) -> None:
    """Every size that Python computes with is the header's."""
    found = re.search(rf"#define {name} (\d+)", (HEADERS / "layout.h").read_text())
    assert found is not None
    assert int(found.group(1)) == getattr(layout, name)


@given(KEYS)
def test_service_keys_survive(key: ServiceKey) -> None:
    """A key read back is the key written."""
    assert layout.parse_service_key(layout.service_key(key)) == key


@given(st.sets(KEYS, max_size=300))
def test_every_service_of_a_table_is_found(keys: set[ServiceKey]) -> None:
    """All services of a node fit, whatever their addresses and ports."""
    entries = [layout.pack_service(service(key), index, settled=False) for index, key in enumerate(sorted(keys))]
    found = layout.service_indexes(layout.build_service_copy(entries))
    assert found == {layout.service_key(key): index for index, key in enumerate(sorted(keys))}


def test_a_full_table_is_refused_with_a_sentence() -> None:
    """More services than the table has slots cannot be placed."""
    keys = (ServiceKey(IPv4Address("192.0.2.1"), Protocol.TCP, port) for port in range(1, 5000))
    entries = [layout.pack_service(service(key), 0, settled=False) for key in keys]
    with pytest.raises(SystemFailure, match="no room"):
        layout.build_service_copy(entries)


def test_the_mark_settled_comes_off_named_services_only() -> None:
    """Everything else of the table stays as it is."""
    first, second = (ServiceKey(IPv4Address("192.0.2.1"), Protocol.UDP, port) for port in (53, 123))
    table = layout.build_service_copy(layout.pack_service(service(key), 1, settled=True) for key in (first, second))
    expected = layout.build_service_copy(
        layout.pack_service(service(key), 1, settled=key is second) for key in (first, second)
    )
    assert layout.without_settled(table, {layout.service_key(first)}) == expected


@pytest.mark.parametrize("vip", [IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")])
@pytest.mark.parametrize("address", [IPv4Address("10.0.0.1"), IPv6Address("::1")])
def test_backends_survive(vip: IPAddress, address: IPAddress) -> None:
    """A backend read back is the backend written, and a tombstone is no free entry."""
    key = layout.service_key(ServiceKey(vip, Protocol.TCP, 80))
    entry = BackendEntry(
        service=key,
        address=address,
        weight=100,
        ifindex=7,
        destination_mac=b"123456",
        source_mac=b"654321",
        flags=3,
        inner_mtu=1480,
    )
    assert layout.parse_backend(entry.pack()) == entry
    tombstone = BackendEntry(service=key, address=None)
    assert layout.parse_backend(tombstone.pack()) == tombstone
    assert layout.parse_backend(bytes(layout.BACKEND_SIZE)) is None


def test_two_services_of_one_load_balancer_hash_differently() -> None:
    """The seed is salted with the service, the same way on every node."""
    first, second = (layout.service_key(ServiceKey(IPv4Address("192.0.2.1"), Protocol.TCP, port)) for port in (80, 443))
    assert layout.service_seed(first, 7) != layout.service_seed(second, 7)
    assert layout.service_seed(first, 7) == layout.service_seed(first, 7)


def test_a_narrow_tunnel_source_is_refused() -> None:
    """16 bits of it are varied (32 of IPv6), so a longer prefix cannot be kept to."""
    wide, wide_v6 = IPv4Network("10.99.0.0/16"), IPv6Network("fd00::/96")
    with pytest.raises(SystemFailure, match="/16"):
        layout.pack_settings(IPv4Network("10.99.0.0/24"), wide_v6, 1024, second_chance=True)
    with pytest.raises(SystemFailure, match="/96"):
        layout.pack_settings(wide, IPv6Network("fd00::/112"), 1024, second_chance=True)
    packed = [layout.pack_settings(wide, wide_v6, 1024, second_chance=chance) for chance in (False, True)]
    assert [each[:8] for each in packed] == [b"\x0a\x63\0\0\0\x04\0\0"] * 2
    assert [each[20:] for each in packed] == [b"\0\0\0\0", b"\1\0\0\0"]

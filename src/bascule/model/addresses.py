"""Addresses that customers hold (elastic IPs) and the ranges they are taken from (address pools)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias
from uuid import UUID

from bascule.model.errors import Exhausted, InvalidInput, Taken

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network


def address_order(address: IPAddress) -> tuple[int, int]:
    """A key to sort addresses of both families by: they do not compare with each other."""
    return address.version, int(address)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPool:
    """A range addresses are taken from. Every address of the range is usable: a VIP is a /32, it has no broadcast."""

    id: UUID
    name: str
    network: IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticIP:
    """An address held by a customer; `load_balancer_id` is None while nothing uses it."""

    id: UUID
    address: IPAddress
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address_pool_id: UUID
    load_balancer_id: UUID | None = None


def choose_address(
    pools: tuple[AddressPool, ...],
    taken: Set[IPAddress],
    wanted: IPAddress | None = None,
    family: int | None = None,
) -> tuple[IPAddress, UUID]:
    """Choose a free address (the lowest) or confirm the wanted one; returns it with its pool's id.

    `family` is 4 or 6; None is 4 where there is a pool of IPv4: who does not ask for IPv6 does not get it by surprise.
    Raises InvalidInput when the wanted address is outside every pool or not of the family, Taken when somebody holds
    it, and Exhausted when no pool has a free address.
    """
    if wanted is not None:
        return _confirm(pools, taken, wanted, family)
    pools = _of_family(pools, family)
    for pool in pools:
        for address in _addresses(pool.network):
            if address not in taken:
                return address, pool.id
    if not pools:
        kind = "" if family is None else f" of IPv{family}"
        raise Exhausted(f"There is no address pool{kind} yet: register one with POST /admin/v1/address-pools.")
    names = ", ".join(f"{pool.name} ({pool.network})" for pool in pools)
    raise Exhausted(f"Every address of {names} is taken: release one or register another address pool.")


def _of_family(pools: tuple[AddressPool, ...], family: int | None) -> tuple[AddressPool, ...]:
    family = family or min((pool.network.version for pool in pools), default=4)
    return tuple(pool for pool in pools if pool.network.version == family)


def _confirm(
    pools: tuple[AddressPool, ...], taken: Set[IPAddress], wanted: IPAddress, family: int | None
) -> tuple[IPAddress, UUID]:
    if family not in {None, wanted.version}:
        raise InvalidInput(f"{wanted} is not of IPv{family}: leave one of the two out.", field="addressfamily")
    pool = next((pool for pool in pools if wanted in pool.network), None)
    if pool is None:
        ranges = ", ".join(str(pool.network) for pool in pools) or "none is registered"
        raise InvalidInput(f"{wanted} is outside every address pool ({ranges}): choose one inside.", field="ip")
    if wanted in taken:
        raise Taken(f"{wanted} is taken: choose another address or leave the field out.", field="ip")
    return wanted, pool.id


def _addresses(network: IPNetwork) -> Iterator[IPAddress]:
    # Lazily, however large it is. The network and broadcast addresses too, which is what a range of /32s wants.
    return iter(network)

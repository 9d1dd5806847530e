"""Which entries of the kernel a virtual service means. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bascule.dataplanes.ipvs.entries import EVERY_PORT, FALLBACK, PERSISTENT, WITH_PORT, Destination, VirtualServer
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod, ServiceKey, VirtualBackend, VirtualService

# The others are called as the kernel calls them.
SCHEDULERS = {strategy: str(strategy) for strategy in Strategy} | {
    Strategy.MAGLEV_HASH: "mh",
    Strategy.ROUND_ROBIN: "wrr",
    Strategy.SOURCE_HASH: "sh",
}
_HASHES = {"mh", "sh"}
# Seconds that a template of a persistent server lives: it has no destination, hence no templates, but 0 is refused.
_TEMPLATE_TIMEOUT = 60
# A month, as ipvsadm has it.
_TIMEOUT_MAX = 31 * 86400
_FTP = 21


def translate(service: VirtualService) -> VirtualServer:
    """The entry for a service, its destinations in the order of their addresses: sh's choice depends on the order.

    Both hashes get their fallback: without it, a client whose own destination has weight 0 is refused.
    """
    scheduler, kept = SCHEDULERS[service.strategy], service.persistence
    flags = PERSISTENT if kept else 0
    if scheduler in _HASHES:
        flags |= FALLBACK | (WITH_PORT if service.hash_source_port else 0)
    backends = sorted(service.backends, key=lambda each: address_order(each.address))
    return VirtualServer(
        key=service.key,
        scheduler=scheduler,
        flags=flags,
        timeout=kept.timeout if kept else 0,
        prefix_length=kept.prefix_length if kept else None,
        destinations=tuple(_destination(service.key, each) for each in backends),
    )


def require_possible(services: Iterable[VirtualService]) -> None:
    """Raises SystemFailure for what the kernel would refuse halfway (ip_vs_ctl.c, ip_vs_genl_set_cmd)."""
    for service in services:
        vip, kept = service.key.address, service.persistence
        for backend in service.backends:
            if backend.address.version != vip.version and backend.method is not ForwardingMethod.TUNNEL:
                raise SystemFailure(
                    f"{service.key} is of IPv{vip.version}, its backend {backend.address} is not: IPVS joins the two"
                    f" by tunnel only, not by {backend.method}. Choose tunnel, or a backend of the same family."
                )
        if kept and kept.prefix_length is not None and not 1 <= kept.prefix_length <= vip.max_prefixlen:
            raise SystemFailure(
                f"{service.key} cannot keep clients by networks of {kept.prefix_length} bits: 1 to {vip.max_prefixlen}."
            )
        if kept and not 1 <= kept.timeout <= _TIMEOUT_MAX:
            raise SystemFailure(f"{service.key} keeps clients for {kept.timeout} seconds: 1 to {_TIMEOUT_MAX}.")


def is_ftp(key: ServiceKey) -> bool:
    """Whether IPVS would take every TCP connection to a port above 1023 of the address for this service's.

    It takes them for FTP's data (ip_vs_ctl.c, ip_vs_service_find), finds that they are not for port 21, and passes them
    to the node's own daemons: the entry that refuses them is never asked.
    """
    return key.protocol is Protocol.TCP and key.port == _FTP


def refuse(addresses: Iterable[IPAddress]) -> tuple[VirtualServer, ...]:
    """The entries that refuse what no service of an address wants: the node's own daemons are out of reach on it.

    IPVS answers for a server without destinations with an ICMP "port unreachable", and asks an entry for every port
    where no other fits. The kernel takes such an entry at its word only when it is persistent.
    """
    return tuple(
        VirtualServer(
            key=ServiceKey(address, protocol, EVERY_PORT), scheduler="rr", flags=PERSISTENT, timeout=_TEMPLATE_TIMEOUT
        )
        for address in sorted(addresses, key=address_order)
        for protocol in Protocol
    )


def _destination(key: ServiceKey, backend: VirtualBackend) -> Destination:
    """Only translation can change the port: the other methods leave the packet as it is (the hypervisor translates)."""
    port = backend.target_port if backend.method is ForwardingMethod.TRANSLATION else key.port
    return Destination(address=backend.address, port=port, method=backend.method, weight=backend.weight)

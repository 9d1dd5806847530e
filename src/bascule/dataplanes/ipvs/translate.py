"""Which entries of the kernel a virtual service means. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bascule.dataplanes.ipvs.entries import EVERY_PORT, FALLBACK, PERSISTENT, WITH_PORT, Destination, VirtualServer
from bascule.model.addresses import IPAddress, address_order
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


def misfit(service: VirtualService) -> str | None:
    """Why IPVS cannot carry a service, and what to do about it; None when it can."""
    vip, kept = service.key.address, service.persistence
    if service.key.protocol is Protocol.TCP and service.key.port == _FTP:
        # ip_vs_ctl.c, ip_vs_service_find: connections to ports above 1023 are then taken for this service's data, found
        # not to be, and passed to the node's own daemons. The entry that refuses them is never asked.
        return (
            "IPVS would take it for FTP, and let clients reach what listens on this node above port 1023. Use another"
            " port, or an LB node with another data plane"
        )
    for backend in service.backends:
        # ip_vs_ctl.c, ip_vs_genl_set_cmd
        if backend.address.version != vip.version and backend.method is not ForwardingMethod.TUNNEL:
            return (
                f"its backend {backend.address} is not of IPv{vip.version}, and IPVS joins two families by tunnel only,"
                f" not by {backend.method}. Choose tunnel, or a backend of the same family"
            )
    if kept and kept.prefix_length is not None and not 1 <= kept.prefix_length <= vip.max_prefixlen:
        return f"it keeps clients by networks of {kept.prefix_length} bits. Choose 1 to {vip.max_prefixlen}"
    if kept and not 1 <= kept.timeout <= _TIMEOUT_MAX:
        return f"it keeps clients for {kept.timeout} seconds. Choose 1 to {_TIMEOUT_MAX}"
    return None


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

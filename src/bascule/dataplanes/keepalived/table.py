"""What IPVS must have, given what is desired and what keepalived says of the instances. Pure.

keepalived writes IPVS when something changes, and never looks at it again. What somebody else did to the table, and
what is left of before a restart, is told by comparing with this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from bascule.dataplanes.ipvs.entries import Destination, VirtualServer
from bascule.dataplanes.ipvs.translate import translate
from bascule.dataplanes.keepalived.state import Instance, Running, Server
from bascule.model.addresses import IPAddress, address_order
from bascule.model.health_checks import Health, OnFailure
from bascule.model.virtual_services import ForwardingMethod, ServiceKey, VirtualService

_SORRY_WEIGHT = 1


def table(
    services: Iterable[VirtualService], running: Running, present: Iterable[VirtualServer]
) -> tuple[VirtualServer, ...]:
    """The entries for the services. What nobody has judged yet stays as it is at `present`: a new process begins so."""
    found = {server.key: {each.address: each for each in server.destinations} for server in present}
    return tuple(_server(service, running.servers.get(service.key), found) for service in services)


def health_of(service: VirtualService, instance: Instance | None) -> Health | None:
    """The verdict on an instance; None for one that nobody shall check.

    A check that keepalived left out (a script that others than root may write) has failed: it takes such an instance
    for healthy for ever.
    """
    if service.health_check is None:
        return None
    if instance is None or (instance.checked is False and not instance.alive):
        return Health.UNKNOWN
    return Health.SUCCESS if instance.alive and instance.checked is not None else Health.FAILURE


def _server(
    service: VirtualService, server: Server | None, found: Mapping[ServiceKey, Mapping[IPAddress, Destination]]
) -> VirtualServer:
    entry, before = translate(service), found.get(service.key, {})
    wanted = {each.address: each for each in entry.destinations}
    sorry = _sorry(service, server, before)
    serving = {**dict(_serving(service, server, wanted, before)), **({sorry.address: sorry} if sorry else {})}
    ordered = sorted(serving.values(), key=lambda each: address_order(each.address))
    return replace(entry, destinations=tuple(ordered))


def _serving(
    service: VirtualService,
    server: Server | None,
    wanted: Mapping[IPAddress, Destination],
    before: Mapping[IPAddress, Destination],
) -> Iterator[tuple[IPAddress, Destination]]:
    check = service.health_check
    inhibit = check is not None and check.on_failure is OnFailure.INHIBIT
    up = server is None or server.up or check is None or check.sorry_server is None
    for address, destination in wanted.items():
        instance = server.instances.get(address) if server is not None else None
        if instance is None or health_of(service, instance) is Health.UNKNOWN:
            if address in before:
                yield address, replace(destination, weight=before[address].weight if destination.weight else 0)
        elif health_of(service, instance) is not Health.FAILURE and up:
            yield address, replace(destination, weight=instance.weight if destination.weight else 0)
        elif inhibit or destination.weight == 0:
            yield address, replace(destination, weight=0)


def _sorry(
    service: VirtualService, server: Server | None, before: Mapping[IPAddress, Destination]
) -> Destination | None:
    address = service.health_check.sorry_server if service.health_check is not None else None
    if service.health_check is None or address is None:
        return None
    sorry = Destination(address=address, port=service.key.port, method=ForwardingMethod.TUNNEL, weight=_SORRY_WEIGHT)
    if not service.backends:
        return sorry
    if server is None:
        return before.get(address)
    if not server.up:
        return sorry
    keeps = service.health_check.on_failure is OnFailure.INHIBIT and address in before
    return replace(sorry, weight=0) if keeps and address not in server.instances else None

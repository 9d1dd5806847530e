"""A data centre in which instances live elsewhere than where they began. Pure."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from bascule.lab.topology import Host, Link, Route, Topology


def moved(topology: Topology, name: str, hypervisor: str) -> Topology:
    """The instance has its cable in that hypervisor. KeyError when there is none of either name."""
    instance, old, new = (topology.host(each) for each in (name, topology.host(name).uplink, hypervisor))
    router = topology.host(old.uplink)
    changed = {
        name: replace(instance, uplink=new.name),
        old.name: replace(old, routes=_without(old, instance)),
        # In this order, for both may be the same.
        new.name: replace(new, routes=(*_without(new, instance), *_routes(instance, name))),
        router.name: replace(router, routes=(*_without(router, instance), *_routes(instance, new.name, new))),
    }
    return Topology(
        hosts=tuple(changed.get(host.name, host) for host in topology.hosts),
        links=tuple(
            replace(link, upper=replace(link.upper, host=new.name)) if link.lower.host == name else link
            for link in topology.links
        ),
    )


def cable_of(topology: Topology, name: str) -> Link:
    """The link of an instance to its hypervisor."""
    return next(link for link in topology.links if link.lower.host == name)


def _without(host: Host, instance: Host) -> tuple[Route, ...]:
    theirs = {ip_network(address) for address in instance.addresses.values()}
    return tuple(route for route in host.routes if route.destination not in theirs)


def _routes(instance: Host, interface: str, gateway: Host | None = None) -> tuple[Route, ...]:
    return tuple(
        Route(
            destination=ip_network(address),
            gateway=gateway.addresses[family] if gateway else None,
            interface=interface,
        )
        for family, address in instance.addresses.items()
    )

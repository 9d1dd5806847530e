"""What a running keepalived says of itself when it is asked by SIGUSR1 (its check_data.c, check_api.c). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address

from bascule.model.addresses import IPAddress
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ServiceKey

_SERVER = re.compile(r" VS VIP = (\S+), VPORT = (\d+)")
_PROTOCOL = re.compile(r"   protocol = (TCP|UDP)")
_NAME = re.compile(r"   SNMP name = '([0-9a-f]+)'")
_QUORUM = re.compile(r"   quorum_state_up = ([01])")
_INSTANCE = re.compile(r"   RIP = (\S+), RPORT = \d+, WEIGHT = (\d+) ")
_ALIVE = re.compile(r"   alive = ([01])")
_CHECK = re.compile(r" \[(\S+)\]:(tcp|udp):(\d+) -> \[(\S+)\]:\S+")
_RUN = re.compile(r"   Has run = (yes|no)")


@dataclass(slots=True)
class Instance:
    """A real server. `checked` is whether a check has ended, None without any; `weight` is what it has while alive."""

    weight: int
    alive: bool = False
    checked: bool | None = None


@dataclass(slots=True)
class Server:
    """A virtual server. `up` is whether it has its quorum."""

    up: bool = False
    instances: dict[IPAddress, Instance] = field(default_factory=dict)


@dataclass(slots=True)
class Running:
    """All of it; `name` is that of the configuration that it runs."""

    name: str | None = None
    servers: dict[ServiceKey, Server] = field(default_factory=dict)


def parse(text: str) -> Running:
    """Read the whole answer; lines nobody knows are passed over."""
    running, server, instance = Running(), Server(), None
    address, port = "", 0
    for line in text.splitlines():
        if found := _SERVER.match(line):
            address, port, server, instance = found[1], int(found[2]), Server(), None
        elif found := _PROTOCOL.match(line):
            running.servers[ServiceKey(ip_address(address), Protocol(found[1].lower()), port)] = server
        elif found := _NAME.match(line):
            running.name = found[1]
        elif found := _QUORUM.match(line):
            server.up = found[1] == "1"
        elif found := _INSTANCE.match(line):
            instance = server.instances[ip_address(found[1])] = Instance(int(found[2]))
        elif found := _ALIVE.match(line):
            if instance is not None:
                instance.alive = found[1] == "1"
        elif found := _CHECK.match(line):
            key = ServiceKey(ip_address(found[1]), Protocol(found[2]), int(found[3]))
            instance = running.servers.get(key, Server()).instances.get(ip_address(found[4]))
        elif (found := _RUN.match(line)) and instance is not None:
            instance.checked = found[1] == "yes"
    return running

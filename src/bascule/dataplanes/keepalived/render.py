"""The configuration of one load balancer's keepalived (keepalived.conf(5)). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address
from pathlib import Path

from bascule.dataplanes.ipvs.translate import SCHEDULERS
from bascule.dataplanes.keepalived.checks import check
from bascule.dataplanes.keepalived.quoting import plain
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure
from bascule.model.health_checks import OnFailure
from bascule.model.virtual_services import Persistence, VirtualService

_HASHES = {"mh", "sh"}
_WEIGHT_MOST = 65535  # IPVS_WEIGHT_LIMIT
# Neither they nor those before them answer TCP port 1; the second are of RFC 6666.
_NOBODY = {4: ip_address("127.255.255.254"), 6: ip_address("100::ffff")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The text, a name for it that a running keepalived can be asked for (`state.py`), and the scripts it names."""

    text: str
    name: str
    scripts: frozenset[Path] = frozenset()


def render(namespace: str, services: Iterable[VirtualService], scripts: Path) -> Configuration:
    """The configuration for the services of one address, whose IPVS is in the named network namespace.

    Checks are made from where keepalived runs, not from there. `scripts` is the folder with the operator's scripts.
    Services without backends are left out: keepalived would refuse them, and has nothing to check. Raises
    SystemFailure for what keepalived cannot do.
    """
    services = sorted((each for each in services if each.backends), key=lambda each: each.key)
    body = "\n".join(text for service in services for text in (*_service(service, scripts), ""))
    name = hashlib.sha256(f"{namespace}\n{body}".encode()).hexdigest()[:16]
    # Virtual servers carry the name: it is what keepalived tells of itself.
    named = body.replace(f"    snmp_name {_NAME}\n", f"    snmp_name {name}\n")
    checks = (service.health_check for service in services)
    return Configuration(
        text=_GLOBAL.format(namespace=plain(namespace), name=name) + named,
        name=name,
        scripts=frozenset(scripts / each.script for each in checks if each is not None and each.script is not None),
    )


_NAME = "@name@"
# Scripts run as root, like our own checks; keepalived then refuses those that others may write.
_GLOBAL = """\
# Written by bascule, configuration {name}: do not change.
net_namespace_ipvs {namespace}

global_defs {{
    script_user root
    enable_script_security
}}

"""


def _service(service: VirtualService, scripts: Path) -> Iterator[str]:
    key, scheduler = service.key, SCHEDULERS[service.strategy]
    yield f"virtual_server {key.address} {key.port} {{"
    yield f"    snmp_name {_NAME}"
    yield f"    protocol {key.protocol.upper()}"
    yield f"    lvs_sched {scheduler}"
    if scheduler in _HASHES:
        yield f"    {scheduler}-fallback"
        if service.hash_source_port:
            yield f"    {scheduler}-port"
    yield "    lvs_method TUN"
    yield from _persistence(service.key.address, service.persistence)
    yield from _policy(service)
    yield from _backends(service, scripts)
    yield from _absent(service)
    yield "}"


def _persistence(address: IPAddress, wanted: Persistence | None) -> Iterator[str]:
    if wanted is None:
        return
    yield f"    persistence_timeout {wanted.timeout}"
    if wanted.prefix_length is not None:
        length = wanted.prefix_length
        written = IPv4Network((0, length)).netmask if address.version == 4 else length
        yield f"    persistence_granularity {written}"


def _policy(service: VirtualService) -> Iterator[str]:
    wanted = service.health_check
    if wanted is None:
        return
    inhibit = wanted.on_failure is OnFailure.INHIBIT
    # An instance serves from its first good check on, not before.
    yield "    alpha"
    yield f"    quorum {wanted.quorum}"
    yield f"    hysteresis {wanted.hysteresis}"
    if inhibit:
        yield "    inhibit_on_failure"
    if wanted.sorry_server is not None:
        yield f"    sorry_server {wanted.sorry_server} {service.key.port}"
        if inhibit:
            yield "    sorry_server_inhibit"


def _backends(service: VirtualService, scripts: Path) -> Iterator[str]:
    for backend in sorted(service.backends, key=lambda each: address_order(each.address)):
        if backend.address.version != service.key.address.version:
            raise SystemFailure(
                f"The data plane keepalived reaches instances of the VIP's family only: {backend.address} cannot be"
                f" behind {service.key}."
            )
        # The hypervisor translates the port: a tunnel carries what the client sent.
        yield f"    real_server {backend.address} {service.key.port} {{"
        yield f"        weight {backend.weight}"
        if backend.weight == 0:
            # It drains: neither its check nor a lost quorum ends its connections.
            yield "        inhibit_on_failure"
        if service.health_check is not None:
            # A script gives a share to those alone that were given one.
            by_script = service.health_check.script_weight and backend.weight > 0
            wanted = check(replace(service.health_check, script_weight=by_script), scripts)
            yield from (f"        {each}" for each in wanted(backend.address))
        yield "    }"


def _absent(service: VirtualService) -> Iterator[str]:
    """Servers that never serve, where all instances together have not the weight for the quorum.

    keepalived would lower the quorum to what there is, and the service would be up with less than was asked for.
    """
    wanted = service.health_check
    least = 1 if wanted is None else wanted.quorum + wanted.hysteresis
    if sum(each.weight for each in service.backends) >= least:
        return
    nobody = _NOBODY[service.key.address.version]
    for number in range(1 + least // _WEIGHT_MOST):
        yield f"    real_server {nobody - number} {service.key.port} {{"
        yield f"        weight {_WEIGHT_MOST}"
        yield from (
            "        alpha on",
            "        inhibit_on_failure no",
            "        TCP_CHECK {",
        )
        yield from ("            connect_port 1", "            connect_timeout 1", "            delay_loop 86400")
        yield from ("        }", "    }")

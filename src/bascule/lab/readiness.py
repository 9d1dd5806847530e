"""When is a lab ready? Conditions of the real processes, awaited; a process that ended says so at once."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from functools import partial

import httpx

from bascule.lab import processes, router, servers
from bascule.lab.network import namespace
from bascule.lab.roster import OUTSIDE, Program, agent_url, kafka_server, postgresql_folder
from bascule.lab.shape import AnnouncerName
from bascule.lab.state import Lab
from bascule.lab.topology import INSTANCE_PORT, Role
from bascule.lab.waiting import wait_until
from bascule.model.errors import SystemFailure
from bascule.model.reports import HypervisorReport
from bascule.system.namespaces import call_in
from bascule.wire.agent_v1 import HYPERVISOR_REPORT

# Seconds. A program that ended says so at once; an emulated kernel on a busy machine takes its time to start a dozen.
_PATIENCE = 240.0
# Nobody here speaks TLS, and reading the machine's authorities for every question would take most of the time.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def wait_for_instances(lab: Lab, *, timeout: float = _PATIENCE) -> None:
    """Until every instance accepts connections from the client at each of its addresses."""
    for host in lab.topology.of_role(Role.INSTANCE):
        for address in host.addresses.values():
            ready = _alive(lab, f"{host.name}-server", partial(_accepts, lab, "client", str(address), INSTANCE_PORT))
            wait_until(ready, what=f"An answer of instance {host.name} at {address}", timeout=timeout)


def wait_for_programs(lab: Lab, programs: Iterable[Program], *, timeout: float = _PATIENCE) -> None:
    """Until the API, the servers it needs and every agent answer; all of them run."""
    for program in programs:
        condition = _alive(lab, program.title, partial(_answers, lab, program))
        wait_until(condition, what=f"An answer of {program.title}", timeout=timeout)


def wait_for_agent(lab: Lab, node: str, *, timeout: float = _PATIENCE) -> None:
    """Until one node's agent answers."""
    url = agent_url(lab.topology.host(node)) + "/v1/health"
    wait_until(lambda: call_in(namespace(lab.name, "control"), lambda: healthy(url)), what=url, timeout=timeout)


def wait_for_bgp(lab: Lab, *, timeout: float = _PATIENCE) -> None:
    """Until the router has a session with every LB node over each family; at once where nodes speak VRRP."""
    if lab.shape.announcer is AnnouncerName.VRRP:
        return
    wait_until(
        lambda: (found := router.sessions(lab)) and all(session.up for session in found),
        what="A BGP session with every LB node",
        timeout=timeout,
    )


def forwarding_of(lab: Lab, node: str) -> HypervisorReport:
    """What a hypervisor's agent reports. Raises httpx.HTTPError while it does not answer."""
    url = agent_url(lab.topology.host(node)) + "/v1/report"
    headers = {"Authorization": f"Bearer {lab.agent_tokens[node]}"}

    def ask() -> bytes:
        answer = httpx.get(url, headers=headers, timeout=5, trust_env=False, verify=_NO_AUTHORITIES)
        return answer.raise_for_status().content

    return HYPERVISOR_REPORT.validate_json(call_in(namespace(lab.name, "control"), ask))


def healthy(url: str) -> bool:
    """Whether anything answers there, in the calling thread's namespace; a refusal to serve us is an answer."""
    try:
        return httpx.get(url, timeout=2, trust_env=False, verify=_NO_AUTHORITIES).status_code < 500
    except httpx.HTTPError:
        return False


def _alive(lab: Lab, title: str, condition: Callable[[], bool]) -> Callable[[], bool]:
    def checked() -> bool:
        if processes.running(lab, title) is None:
            log = lab.directory / "logs" / f"{title}.log"
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
            raise SystemFailure(f"{title} ended as soon as it began: {' '.join(last) or 'it said nothing'}")
        return condition()

    return checked


def _answers(lab: Lab, program: Program) -> bool:
    if program.host == OUTSIDE:
        return healthy(f"{lab.api_url}/v2/load-balancer")
    if program.name == "agent":
        url = agent_url(lab.topology.host(program.host)) + "/v1/health"
        return call_in(namespace(lab.name, "control"), lambda: healthy(url))
    if program.name == "postgresql":
        return servers.postgresql_answers(postgresql_folder(lab))
    if program.name == "kafka":
        address, _, port = kafka_server(lab).partition(":")
        return _accepts(lab, program.host, address, int(port))
    return True


def _accepts(lab: Lab, host: str, address: str, port: int) -> bool:
    """Whether somebody who asks from a host of the lab is let in there."""

    def attempt() -> bool:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            return False
        return True

    return call_in(namespace(lab.name, host), attempt)

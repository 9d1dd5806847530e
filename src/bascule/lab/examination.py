"""Asks the doctor about every LB node and hypervisor of a lab before anything starts there."""

from __future__ import annotations

from functools import partial

from bascule.doctor import facts
from bascule.doctor.diagnosis import diagnose, problems
from bascule.doctor.facts import Choice, Facts, SystemFacts
from bascule.doctor.gather import gather_system
from bascule.doctor.gather_network import gather_network
from bascule.doctor.paths import TUNNEL_HEADER
from bascule.lab.network import namespace
from bascule.lab.roster import agent_program
from bascule.lab.state import Lab
from bascule.lab.topology import UPLINK, Host, Role
from bascule.model.errors import SystemFailure
from bascule.system.namespaces import call_in

_ROLES = {Role.LB_NODE: facts.Role.LB_NODE, Role.HYPERVISOR: facts.Role.HYPERVISOR}


def examine(lab: Lab) -> None:
    """Raise SystemFailure with the doctor's sentence and fix for the first host that has a problem."""
    system = gather_system()
    for role in _ROLES:
        for host in lab.topology.of_role(role):
            call_in(namespace(lab.name, host.name), partial(_examine, lab, host, system))


def _examine(lab: Lab, host: Host, system: SystemFacts) -> None:
    choice = _choice(lab, host)
    ends = (Role.HYPERVISOR, Role.INSTANCE) if host.role is Role.LB_NODE else ()
    towards = ([address for one in lab.topology.of_role(role) for address in one.addresses.values()] for role in ends)
    found = problems(diagnose(Facts(system=system, network=gather_network(choice, *towards)), choice))
    if found:
        inside = "" if found[0].subject.split()[0] in {"data", "forwarding", "announcer"} else f" on {host.name}"
        fix = f" Mend it{inside}: {found[0].fix}" if found[0].fix else ""
        raise SystemFailure(f"{host.name} cannot work: {found[0].sentence}{fix}")


def _choice(lab: Lab, host: Host) -> Choice:
    """What the host's agent will be told."""
    settings = agent_program(lab, host.name).environment
    return Choice(
        roles=frozenset({_ROLES[host.role]}),
        dataplane=settings.get("BASCULE_DATAPLANE", "xdp"),
        forwarding=settings.get("BASCULE_FORWARDING", "ebpf"),
        announcer=settings.get("BASCULE_ANNOUNCER", "bgp"),
        interfaces=(UPLINK,),
        uplinks=(UPLINK,),
        tunnel_sources=lab.shape.tunnel_sources,
        tunnel_mtu=int(settings.get("BASCULE_TUNNEL_MTU", lab.shape.underlay_mtu - TUNNEL_HEADER)),
    )

"""Build a lab and take it away. Nothing is left behind, whatever was killed and whenever."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from bascule.lab import network, passage, processes, registration, router, servers, state
from bascule.lab.examination import examine
from bascule.lab.mounts import mounts_below, unmount_below
from bascule.lab.readiness import wait_for_bgp, wait_for_instances, wait_for_programs
from bascule.lab.roster import postgresql_folder, roster, server_programs
from bascule.lab.shape import AnnouncerName, DatabaseKind, EventsFrom, Shape
from bascule.lab.state import Lab
from bascule.model.data_planes import DataPlaneName
from bascule.model.errors import InUse, InvalidInput, SystemFailure

Tell = Callable[[str], None]


def up(name: str, shape: Shape, *, hosts_only: bool = False, tell: Tell = lambda _: None) -> Lab:
    """Build the lab and start everything in it; returns once it is ready for load balancers.

    Raises InUse when it exists, SystemFailure when the machine lacks something. What was built goes when a step fails.
    """
    check_machine(shape)
    with state.only_one(name):
        if state.exists(name) or network.namespaces_of(name):
            raise InUse(f"Lab {name} exists: use it, or take it away with `bascule lab down --name {name}`.")
        try:
            return _build(state.new_lab(name, shape, hosts_only=hosts_only), tell)
        except BaseException:
            _take_away(name)
            raise


def down(name: str) -> bool:
    """Take the lab away; False when nothing of it was there."""
    with state.only_one(state.checked(name)):
        return _take_away(name)


def leftovers(name: str) -> list[str]:
    """What is left of a lab: a line for each process, mount, namespace and directory."""
    return [
        *(f"process {process.pid}" for process in processes.processes_of(name)),
        *(f"mount {point}" for point in mounts_below(state.LABS / name)),
        *(f"namespace {namespace}" for namespace in network.namespaces_of(name).values()),
        *(f"namespace {namespace}" for namespace in network.balancers_of(name)),
        *([f"directory {state.LABS / name}"] if state.exists(name) else []),
    ]


def check_machine(shape: Shape) -> None:
    """Raise SystemFailure naming what a lab of that shape needs and this machine lacks."""
    if os.geteuid() != 0:
        raise SystemFailure("A lab builds network namespaces: run it as root.")
    missing = [program for program in ("bird", "birdc") if not shutil.which(program)]
    if missing:
        raise SystemFailure(f"{', '.join(missing)} not found: install the package bird2.")
    if shape.announcer is AnnouncerName.VRRP:
        if shape.dataplane is DataPlaneName.KEEPALIVED:
            raise InvalidInput("The data plane keepalived cannot be announced by vrrp: take xdp or ipvs.")
        if not shutil.which("keepalived"):
            raise SystemFailure("keepalived not found: install the package keepalived.")
    if 6 in shape.families and not Path("/proc/sys/net/ipv6").exists():
        raise SystemFailure("This kernel has no IPv6: build the lab with --no-ipv6.")
    if shape.database is DatabaseKind.POSTGRESQL:
        servers.check_postgresql()
    if shape.events is EventsFrom.KAFKA:
        servers.check_kafka()


def _build(lab: Lab, tell: Tell) -> Lab:
    state.save(lab)
    tell("Namespaces, links and routes")
    network.build(lab.name, lab.topology)
    passage.start_counting(lab)
    router.configure(lab)
    if not lab.hosts_only:
        tell("The doctor looks at LB nodes and hypervisors")
        examine(lab)
        _start_servers(lab, tell)
    tell("BIRD, instances" if lab.hosts_only else "BIRD, instances, agents, orchestrator and API")
    programs = roster(lab)
    for program in programs:
        if processes.running(lab, program.title) is None:
            processes.start(lab, program)
    wait_for_instances(lab)
    if lab.hosts_only:
        return lab
    wait_for_programs(lab, programs)
    tell("Registering nodes, addresses and instances")
    lab = registration.register(lab)
    state.save(lab)
    tell("BGP sessions")
    wait_for_bgp(lab)
    return lab


def _start_servers(lab: Lab, tell: Tell) -> None:
    """Whoever needs a database or a broker finds it there."""
    programs = server_programs(lab)
    if programs:
        tell(" and ".join(program.name for program in programs))
    if lab.shape.database is DatabaseKind.POSTGRESQL:
        state.open_to(lab, servers.POSTGRESQL_USER)
        servers.make_postgresql(postgresql_folder(lab))
    for program in programs:
        processes.start(lab, program)
    wait_for_programs(lab, programs)


def _take_away(name: str) -> bool:
    there = bool(leftovers(name))
    processes.kill_all(name)
    unmount_below(state.LABS / name)
    network.remove(name)
    state.forget(name)
    return there

"""What is done to machines and processes: each deed returns as soon as it is done, and marks what it did."""

from __future__ import annotations

import os
import signal

from bascule.lab import faults, network, passage, processes
from bascule.lab.network import namespace
from bascule.lab.readiness import wait_for_programs
from bascule.lab.roster import api_program, orchestrator_program
from bascule.lab.survival.scene import Scene
from bascule.lab.waiting import wait_until

HYPERVISOR, OTHER_HYPERVISOR = "hv1", "hv2"
_AWAY = 3.0


def kill_lb_node(scene: Scene) -> None:
    """A machine's death: no cable, no agent. The cable goes first, as the agent's end takes a moment."""
    faults.pull_cable(scene.lab, scene.hit)
    faults.kill(scene.lab, f"{scene.hit}-agent")
    scene.mark(f"{scene.hit} is dead")


def kill_lb_node_and_wait(scene: Scene) -> None:
    """The same, until the router knows."""
    kill_lb_node(scene)
    scene.wait_until_carried_by(*scene.others())


def hang_lb_node(scene: Scene) -> None:
    """Nothing passes between an LB node and the router, whose link stays up."""
    passage.block(scene.lab, scene.hit)
    scene.mark(f"{scene.hit} hangs")
    scene.wait_until_carried_by(*scene.others())
    scene.mark("the router withdrew the route")


def unhang_lb_node(scene: Scene) -> None:
    """Let packets pass again."""
    passage.unblock(scene.lab, scene.hit)


def revive_lb_node(scene: Scene) -> None:
    """The machine is back, and carries the VIP again."""
    faults.revive_node(scene.lab, scene.hit)
    scene.mark(f"{scene.hit} is back")
    scene.wait_until_carried_by_all()
    scene.mark(f"{scene.hit} carries the VIP")


def kill_lb_processes(scene: Scene) -> None:
    """Every process of an LB node."""
    faults.kill(scene.lab, f"{scene.hit}-agent")
    for process in processes_in(scene, scene.hit):
        processes.kill(process)
    scene.mark(f"{scene.hit}'s processes are dead")


def drain_lb_node(scene: Scene) -> None:
    """Drain an LB node, until it carries nothing."""
    scene.drain_node(scene.hit)
    scene.mark(f"{scene.hit} drains")
    scene.wait_until_carried_by(*scene.others())
    scene.mark(f"{scene.hit} has withdrawn")
    scene.wait_until_drained(scene.hit)
    scene.mark(f"{scene.hit} carries nothing")


def disable_lb_node(scene: Scene) -> None:
    """Disable an LB node, until the router no longer uses it."""
    scene.enable_node(scene.hit, enabled=False)
    scene.mark(f"{scene.hit} is disabled")
    scene.wait_until_carried_by(*scene.others())
    scene.mark(f"{scene.hit} carries nothing")


def add_lb_node(scene: Scene) -> None:
    """Enable an LB node, until the router uses it."""
    scene.enable_node(scene.hit, enabled=True)
    scene.mark(f"{scene.hit} is enabled")
    scene.wait_until_carried_by_all()
    scene.mark(f"{scene.hit} carries the VIP")


def restart_lb_agent(scene: Scene) -> None:
    """Kill an LB agent and start it."""
    _restart(scene, scene.hit)


def restart_hypervisor_agent(scene: Scene) -> None:
    """Kill a hypervisor agent and start it."""
    _restart(scene, HYPERVISOR)


def upgrade_lb_agent(scene: Scene) -> None:
    """End an LB agent in good order and start its successor."""
    process = processes.find(scene.lab, f"{scene.hit}-agent")
    os.kill(process.pid, signal.SIGTERM)
    wait_until(lambda: processes.running(scene.lab, f"{scene.hit}-agent") is None, what="The agent's end", every=0.01)
    scene.mark(f"{scene.hit}'s agent ended")
    faults.restart_agent(scene.lab, scene.hit)
    scene.mark("its successor answers")


def kill_control_plane(scene: Scene) -> None:
    """Kill orchestrator and API, and start them again later."""
    programs = (orchestrator_program(scene.lab), api_program(scene.lab))
    for program in programs:
        faults.kill(scene.lab, program.title)
    scene.mark("orchestrator and API are dead")
    pass_time(scene)
    for program in programs:
        processes.start(scene.lab, program)
    wait_for_programs(scene.lab, programs)
    scene.mark("they are back")


def lose_database(scene: Scene) -> None:
    """The database's machine loses power, and is back after a while."""
    faults.stop_database(scene.lab)
    scene.mark("the database is gone")
    pass_time(scene, scene.database_away)
    faults.restart_servers(scene.lab)
    scene.mark("the database is back")


def find_database(scene: Scene) -> None:
    """Start the database where it does not run: without it nothing else can be made whole."""
    faults.restart_servers(scene.lab)


def kill_hypervisor(scene: Scene) -> None:
    """A hypervisor's death: no cable, no agent; its instances are gone with it."""
    faults.pull_cable(scene.lab, HYPERVISOR)
    faults.kill(scene.lab, f"{HYPERVISOR}-agent")
    scene.mark(f"{HYPERVISOR} is dead")


def revive_hypervisor(scene: Scene) -> None:
    """Plug its cable in again; its agent is started with all that is dead."""
    faults.plug_in_cable(scene.lab, HYPERVISOR)


def _restart(scene: Scene, node: str) -> None:
    faults.kill(scene.lab, f"{node}-agent")
    scene.mark(f"{node}'s agent is dead")
    faults.restart_agent(scene.lab, node)
    scene.mark("its successor answers")


def pass_time(scene: Scene, seconds: float = _AWAY) -> None:
    """Wait by the flows' own clock."""
    end = scene.clock() + seconds
    wait_until(lambda: scene.clock() >= end, what="The passing of time", timeout=seconds + 60, every=0.02)


def processes_in(scene: Scene, node: str) -> list[processes.Process]:
    """The processes in the namespaces of a node and of the load balancers that it carries."""
    names = [namespace(scene.lab.name, node)]
    names += [each for each in network.balancers_of(scene.lab.name) if f"-{node}-" in each]
    return [each for name in names for each in processes.living_in(name)]

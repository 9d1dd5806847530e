"""What is done to machines and processes: each deed returns as soon as it is done, and marks what it did."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from bascule.lab import faults, network, passage, processes
from bascule.lab.network import namespace
from bascule.lab.readiness import wait_for_programs
from bascule.lab.roster import api_program, orchestrator_program
from bascule.lab.survival.scene import Scene
from bascule.lab.waiting import wait_until
from bascule.system.commands import run
from bascule.system.namespaces import call_in

NODE, HYPERVISOR, OTHER_HYPERVISOR = "lb1", "hv1", "hv2"
_AWAY = 3.0


def kill_lb_node(scene: Scene) -> None:
    """A machine's death: no cable, no agent. The cable goes first, as the agent's end takes a moment."""
    faults.pull_cable(scene.lab, NODE)
    faults.kill(scene.lab, f"{NODE}-agent")
    scene.mark(f"{NODE} is dead")


def kill_lb_node_and_wait(scene: Scene) -> None:
    """The same, until the router knows."""
    kill_lb_node(scene)
    scene.wait_until_carried_by(*_others(scene))


def hang_lb_node(scene: Scene) -> None:
    """Nothing passes between an LB node and the router, whose link stays up."""
    passage.block(scene.lab, NODE)
    scene.mark(f"{NODE} hangs")
    scene.wait_until_carried_by(*_others(scene))
    scene.mark("the router withdrew the route")


def unhang_lb_node(scene: Scene) -> None:
    """Let packets pass again."""
    passage.unblock(scene.lab, NODE)


def revive_lb_node(scene: Scene) -> None:
    """The machine is back, and carries the VIP again."""
    faults.revive_node(scene.lab, NODE)
    scene.mark(f"{NODE} is back")
    scene.wait_until_carried_by(*scene.lb_nodes())
    scene.mark(f"{NODE} carries the VIP")


def kill_lb_processes(scene: Scene) -> None:
    """Every process of an LB node."""
    faults.kill(scene.lab, f"{NODE}-agent")
    for process in _processes_in(scene, NODE):
        processes.kill(process)
    scene.mark(f"{NODE}'s processes are dead")


def drain_lb_node(scene: Scene) -> None:
    """Drain an LB node, until it carries nothing."""
    scene.drain_node(NODE)
    scene.mark(f"{NODE} drains")
    scene.wait_until_carried_by(*_others(scene))
    scene.mark(f"{NODE} has withdrawn")
    scene.wait_until_drained(NODE)
    scene.mark(f"{NODE} carries nothing")


def disable_lb_node(scene: Scene) -> None:
    """Disable an LB node, until the router no longer uses it."""
    scene.enable_node(NODE, enabled=False)
    scene.mark(f"{NODE} is disabled")
    scene.wait_until_carried_by(*_others(scene))
    scene.mark(f"{NODE} carries nothing")


def add_lb_node(scene: Scene) -> None:
    """Enable an LB node, until the router uses it."""
    scene.enable_node(NODE, enabled=True)
    scene.mark(f"{NODE} is enabled")
    scene.wait_until_carried_by(*scene.lb_nodes())
    scene.mark(f"{NODE} carries the VIP")


def restart_lb_agent(scene: Scene) -> None:
    """Kill an LB agent and start it."""
    _restart(scene, NODE)


def restart_hypervisor_agent(scene: Scene) -> None:
    """Kill a hypervisor agent and start it."""
    _restart(scene, HYPERVISOR)


def upgrade_lb_agent(scene: Scene) -> None:
    """End an LB agent in good order and start its successor."""
    process = processes.find(scene.lab, f"{NODE}-agent")
    os.kill(process.pid, signal.SIGTERM)
    wait_until(lambda: processes.running(scene.lab, f"{NODE}-agent") is None, what="The agent's end", every=0.01)
    scene.mark(f"{NODE}'s agent ended")
    faults.restart_agent(scene.lab, NODE)
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


def reload_keepalived(scene: Scene) -> None:
    """Have every keepalived of an LB node read its configuration again."""
    found = [each for each in _processes_in(scene, NODE) if _name(each.pid) == "keepalived"]
    ours = {each.pid for each in found}
    for process in found:
        # Its children hear of it from their parent.
        if _parent(process.pid) not in ours:
            os.kill(process.pid, signal.SIGHUP)
    scene.mark("keepalived reloads")


def restart_bird(scene: Scene) -> None:
    """End an LB node's BIRD; its agent starts it within its next pass."""
    for process in _processes_in(scene, NODE):
        if _name(process.pid) == "bird":
            os.kill(process.pid, signal.SIGTERM)
    scene.mark("BIRD ends")
    wait_until(lambda: scene.carried_by() == _others(scene), what="The withdrawal", every=0.01)
    scene.mark("the router withdrew the route")
    scene.wait_until_carried_by(*scene.lb_nodes())
    scene.mark("BIRD is back")


def lose_bgp_session(scene: Scene) -> None:
    """Have the router close a session and open it again."""
    control = f"{scene.lab.folder('router')}/bird.ctl"
    session = f"{NODE}_ipv{scene.vip.version}"
    run(["birdc", "-s", control, "disable", session])
    scene.mark("the session is closed")
    pass_time(scene)
    run(["birdc", "-s", control, "enable", session])
    scene.mark("the router opens it again")
    scene.wait_until_carried_by(*scene.lb_nodes())
    scene.mark("the route is back")


def silence_bfd(scene: Scene) -> None:
    """Drop a node's BFD for a while; it forwards meanwhile."""
    faults.silence_routing(scene.lab, NODE)
    scene.mark("BFD is silent")
    pass_time(scene)
    faults.resume_routing(scene.lab, NODE)
    scene.mark("BFD speaks again")
    scene.wait_until_carried_by(*scene.lb_nodes())
    scene.mark("the route is back")


def delete_vip(scene: Scene) -> None:
    """Delete the VIP's route in every table, and its address on every link, of an LB node and of what it made."""
    vip = f"{scene.vip}/{scene.vip.max_prefixlen}"

    def body() -> None:
        with IPRoute() as ip:
            for address in ip.get_addr(address=str(scene.vip)):
                with suppress(NetlinkError):
                    ip.addr("del", index=address["index"], address=str(scene.vip), prefixlen=address["prefixlen"])
            for route in ip.get_routes(dst=str(scene.vip), dst_len=scene.vip.max_prefixlen):
                # 6 is a blackhole route, RTN_BLACKHOLE: what the announcer reads.
                if route["type"] == 6:
                    ip.route("del", dst=vip, table=route.get("table"), type="blackhole")

    call_in(namespace(scene.lab.name, NODE), body)
    scene.mark(f"the VIP is deleted on {NODE}")


def _restart(scene: Scene, node: str) -> None:
    faults.kill(scene.lab, f"{node}-agent")
    scene.mark(f"{node}'s agent is dead")
    faults.restart_agent(scene.lab, node)
    scene.mark("its successor answers")


def _others(scene: Scene) -> tuple[str, ...]:
    return tuple(node for node in scene.lb_nodes() if node != NODE)


def pass_time(scene: Scene, seconds: float = _AWAY) -> None:
    """Wait by the flows' own clock."""
    end = scene.clock() + seconds
    wait_until(lambda: scene.clock() >= end, what="The passing of time", timeout=seconds + 60, every=0.02)


def _processes_in(scene: Scene, node: str) -> list[processes.Process]:
    """The processes in the namespaces of a node and of the load balancers that it carries."""
    names = [namespace(scene.lab.name, node)]
    names += [each for each in network.balancers_of(scene.lab.name) if f"-{node}-" in each]
    return [each for name in names for each in processes.living_in(name)]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

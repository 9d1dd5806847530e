"""What is done to what draws packets to an LB node: its BIRD, its keepalived, the VIP itself; see `deeds`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from bascule.lab import faults
from bascule.lab.network import namespace
from bascule.lab.survival import deeds
from bascule.lab.survival.scene import Scene
from bascule.lab.waiting import wait_until
from bascule.system.commands import run
from bascule.system.namespaces import call_in


def reload_keepalived(scene: Scene) -> None:
    """Have every keepalived of an LB node read its configuration again."""
    found = [each for each in deeds.processes_in(scene, scene.hit) if _name(each.pid) == "keepalived"]
    ours = {each.pid for each in found}
    for process in found:
        # Its children hear of it from their parent.
        if _parent(process.pid) not in ours:
            os.kill(process.pid, signal.SIGHUP)
    scene.mark("keepalived reloads")


def restart_bird(scene: Scene) -> None:
    """End an LB node's BIRD; its agent starts it within its next pass."""
    for process in deeds.processes_in(scene, scene.hit):
        if _name(process.pid) == "bird":
            os.kill(process.pid, signal.SIGTERM)
    scene.mark("BIRD ends")
    wait_until(lambda: scene.carried_by() == scene.others(), what="The withdrawal", every=0.01)
    scene.mark("the router withdrew the route")
    scene.wait_until_carried_by_all()
    scene.mark("BIRD is back")


def lose_bgp_session(scene: Scene) -> None:
    """Have the router close a session and open it again."""
    control = f"{scene.lab.folder('router')}/bird.ctl"
    session = f"{scene.hit}_ipv{scene.vip.version}"
    run(["birdc", "-s", control, "disable", session])
    scene.mark("the session is closed")
    deeds.pass_time(scene)
    run(["birdc", "-s", control, "enable", session])
    scene.mark("the router opens it again")
    scene.wait_until_carried_by_all()
    scene.mark("the route is back")


def silence_bfd(scene: Scene) -> None:
    """Drop a node's BFD for a while; it forwards meanwhile."""
    faults.silence_routing(scene.lab, scene.hit)
    scene.mark("BFD is silent")
    deeds.pass_time(scene)
    faults.resume_routing(scene.lab, scene.hit)
    scene.mark("BFD speaks again")
    scene.wait_until_carried_by_all()
    scene.mark("the route is back")


def kill_vrrp(scene: Scene) -> None:
    """Kill the keepalived that speaks VRRP; the agent lives."""
    _signal_vrrp(scene, signal.SIGKILL)
    scene.mark("keepalived is dead")


def freeze_vrrp(scene: Scene) -> None:
    """Let it stand still; the agent lives."""
    _signal_vrrp(scene, signal.SIGSTOP)
    scene.mark("keepalived stands still")


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

    call_in(namespace(scene.lab.name, scene.hit), body)
    scene.mark(f"the VIP is deleted on {scene.hit}")


def _signal_vrrp(scene: Scene, number: signal.Signals) -> None:
    for process in deeds.processes_in(scene, scene.hit):
        if _name(process.pid) == "keepalived":
            os.kill(process.pid, number)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

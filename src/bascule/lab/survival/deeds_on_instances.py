"""What is done to instances and their pool, alone and together with an LB node's death; see `deeds`."""

from __future__ import annotations

from uuid import UUID

from pyroute2 import IPRoute, NetlinkError

from bascule.lab import faults, machines
from bascule.lab.network import namespace
from bascule.lab.readiness import forwarding_of
from bascule.lab.survival import deeds
from bascule.lab.survival.scene import SERVING, Scene
from bascule.lab.waiting import wait_until
from bascule.system.namespaces import call_in

_INSTANCE = "vm1"
_LONG = 75.0  # seconds: longer than a flow of UDP is remembered
# The routing tables by which a node reaches instances: everybody's, and that of IPVS's tunnels (`topology`).
_MAIN, _TUNNELS = 254, 100


def kill_instance(scene: Scene) -> None:
    """Kill an instance's server."""
    faults.kill(scene.lab, f"{_INSTANCE}-server")
    scene.mark(f"{_INSTANCE} is dead")


def shrink_pool(scene: Scene) -> None:
    """One instance less."""
    _scale(scene, SERVING - 1)


def grow_pool(scene: Scene) -> None:
    """One instance more."""
    _scale(scene, SERVING + 1)


def migrate_instance(scene: Scene) -> None:
    """The control plane is told; once the other hypervisor is ready, the instance moves there with its address."""
    _tell_of_instance(scene, moving_to=deeds.OTHER_HYPERVISOR)
    scene.mark(f"{_INSTANCE} is about to move to {deeds.OTHER_HYPERVISOR}")
    address = scene.lab.topology.host(_INSTANCE).addresses[scene.vip.version]

    def knows() -> bool:
        orders = forwarding_of(scene.lab, deeds.OTHER_HYPERVISOR).load_balancers
        return any((rule.address, rule.instance) == (scene.vip, address) for each in orders for rule in each.rules)

    wait_until(knows, what=f"The rules of {_INSTANCE} on {deeds.OTHER_HYPERVISOR}", every=0.02)
    scene.mark(f"{deeds.OTHER_HYPERVISOR} is ready for it")
    _move(scene, deeds.OTHER_HYPERVISOR)


def migrate_instance_untold(scene: Scene) -> None:
    """An instance moves to the other hypervisor with its address; then the control plane is told."""
    _move(scene, deeds.OTHER_HYPERVISOR)


def migrate_instance_back(scene: Scene) -> None:
    """And back."""
    _move(scene, deeds.HYPERVISOR)


def _move(scene: Scene, hypervisor: str) -> None:
    machines.move(scene.lab, _INSTANCE, hypervisor)
    scene.mark(f"{_INSTANCE} runs on {hypervisor}")
    _tell_of_instance(scene, hypervisor=hypervisor)
    scene.mark("the control plane is told")


def _tell_of_instance(scene: Scene, **what: str) -> None:
    pool = UUID(scene.lab.instance_pools[scene.vip.version])
    found = next(each for each in scene.admin.instance_pools.get(pool).instances if each.name == _INSTANCE)
    scene.admin.instance_pools.update(pool, found.id, **what)


def kill_lb_node_during_change(scene: Scene) -> None:
    """A change of the pool and the death of an LB node together."""
    scene.api.request_scale(SERVING + 1)
    scene.mark("the pool grows")
    deeds.pass_time(scene, 0.5)
    deeds.kill_lb_node(scene)


def kill_lb_node_long_after_change(scene: Scene) -> None:
    """A change of the pool, and the death of an LB node when the change is long over."""
    grow_pool(scene)
    deeds.pass_time(scene, _LONG)
    deeds.kill_lb_node(scene)


def cut_off_instance(scene: Scene) -> None:
    """One LB node's packets to one instance go nowhere."""
    _blackhole(scene, "add")
    scene.mark(f"{scene.hit} cannot reach {_INSTANCE}")


def reconnect_instance(scene: Scene) -> None:
    """Let the LB node reach the instance again."""
    _blackhole(scene, "del")


def _blackhole(scene: Scene, what: str) -> None:
    address = scene.lab.topology.host(_INSTANCE).addresses[scene.vip.version]

    def body() -> None:
        with IPRoute() as ip:
            for table in (_MAIN, _TUNNELS):
                try:
                    ip.route(what, dst=f"{address}/{address.max_prefixlen}", type="blackhole", table=table)
                except NetlinkError:
                    if what == "add":  # what is gone already is fine
                        raise

    call_in(namespace(scene.lab.name, scene.hit), body)


def _scale(scene: Scene, size: int) -> None:
    scene.mark(f"a pool of {size} is asked for")
    scene.api.scale(size)
    scene.mark(f"a pool of {size} serves")

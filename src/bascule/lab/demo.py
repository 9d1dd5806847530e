"""`make demo`: every claim made here is checked, and a false one makes the demo fail."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product

from rich.console import Console
from rich.rule import Rule

from bascule.lab import faults, life, passage, picture, traffic
from bascule.lab.control_plane import ControlPlane, Port
from bascule.lab.observe import observe
from bascule.lab.router import announcements
from bascule.lab.shape import Shape
from bascule.lab.state import Lab
from bascule.lab.stream import Stream
from bascule.lab.topology import INSTANCE_PORT, Role
from bascule.lab.traffic import Tally, Target
from bascule.lab.waiting import wait_until
from bascule.model.addresses import IPAddress
from bascule.model.strategies import Protocol

WEB = Port(name="web", protocol=Protocol.TCP, port=80, target_port=INSTANCE_PORT)
WHO = Port(name="who", protocol=Protocol.UDP, port=53, target_port=INSTANCE_PORT)
EXCHANGES = 2000
_PLAY = """Play with it:
  bascule lab status -n {name}             picture, sessions, routes, health
  bascule lab traffic -n {name}            connections through every service
  bascule lab revive-node {victim} -n {name}    (kill-node kills it again)
  bascule lab exec -n {name} client -- curl -s http://{vip}/
  eval "$(bascule lab env -n {name})"; bascule lb list
  bascule lab down -n {name}               take it away"""


@dataclass(slots=True)
class Demo:
    """One run: the lab, its API, and the claims so far."""

    lab: Lab
    api: ControlPlane
    console: Console
    exchanges: int = EXCHANGES
    vips: tuple[IPAddress, ...] = ()
    victim: str = ""
    false_claims: list[str] = field(default_factory=list)

    @property
    def web(self) -> tuple[Target, ...]:
        """The TCP service of each load balancer."""
        return tuple(Target(WEB.protocol, vip, WEB.port) for vip in self.vips)

    @property
    def who(self) -> tuple[Target, ...]:
        """The UDP service of each load balancer."""
        return tuple(Target(WHO.protocol, vip, WHO.port) for vip in self.vips)

    @property
    def share(self) -> int:
        """The exchanges at a time with one load balancer."""
        return self.exchanges // len(self.vips)

    def claim(self, words: str, *, holds: bool) -> None:
        """State something that was just observed to be true or false."""
        self.console.print(f"  [green]✔[/] {words}" if holds else f"  [red]✘ not true: {words}[/]", highlight=False)
        if not holds:
            self.false_claims.append(words)

    def show(self) -> None:
        """Draw the data centre as it is now."""
        self.console.print(picture.topology(observe(self.lab)))


def run_demo(name: str, shape: Shape, *, exchanges: int, keep: bool, console: Console) -> bool:
    """Run the demo with so many connections and requests at a time; True when every claim held."""
    began = time.monotonic()
    console.print(Rule("A data centre on this machine"))
    with console.status("Building") as line:
        lab = life.up(name, shape, tell=line.update)
    try:
        with ControlPlane(lab) as api:
            demo = Demo(lab, api, console, exchanges)
            demo.claim(f"the lab came up in {time.monotonic() - began:.1f} s", holds=True)
            for chapter in (_create, _send, _scale, _kill_a_node):
                chapter(demo)
    finally:
        if not keep:
            life.down(name)
    console.print(Rule(f"{time.monotonic() - began:.0f} s"))
    console.print(
        _PLAY.format(name=name, vip=demo.vips[0], victim=demo.victim)
        if keep
        else "The lab is gone again. To keep it: --keep",
        highlight=False,
    )
    return not demo.false_claims


def _create(demo: Demo) -> None:
    families = demo.lab.shape.families
    of_each = " of each family" if len(families) > 1 else ""
    demo.console.print(Rule(f"A load balancer{of_each} with two services over three instances"))
    with demo.console.status("Creating"):
        balancers = [demo.api.create_load_balancer(f"demo-ipv{family}", family) for family in families]
        for balancer, port in product(balancers, (WEB, WHO)):
            demo.api.add_service(balancer, port)
        demo.vips = tuple(balancer.ip for balancer in balancers)
        _wait_until_answered_by(demo, (*demo.web, *demo.who), 3)
    demo.show()
    routes = announcements(demo.lab)
    for vip in demo.vips:
        nodes = routes.get(vip, ())
        demo.claim(f"{vip} is announced by {' and '.join(nodes) or 'nobody'}", holds=len(nodes) == 2)


def _send(demo: Demo) -> None:
    demo.console.print(Rule(f"{demo.exchanges} TCP connections and {demo.exchanges} UDP requests"))
    before = passage.read(demo.lab)
    with demo.console.status("Sending"):
        tallies = [traffic.send(demo.lab, target, demo.share) for target in (*demo.web, *demo.who)]
    passed = passage.read(demo.lab).since(before)
    demo.console.print(picture.answers(tallies), picture.passage(passed))
    for tally in tallies:
        _claim_answers(demo, tally, 3)
    demo.claim("replies went straight to the client: none passed an LB node", holds=passed.direct)


def _scale(demo: Demo) -> None:
    demo.console.print(Rule("The pool grows from three instances to four"))
    with demo.console.status("Scaling"):
        began = time.monotonic()
        demo.api.scale(4)
        _wait_until_answered_by(demo, demo.web, 4)
        seconds = time.monotonic() - began
        tallies = [traffic.send(demo.lab, target, demo.share) for target in demo.web]
    demo.console.print(picture.answers(tallies))
    demo.claim(
        f"the fourth instance served {seconds:.1f} s after the request to scale",
        holds=seconds < 10 * demo.lab.shape.check_interval,
    )
    for tally in tallies:
        _claim_answers(demo, tally, 4)


def _kill_a_node(demo: Demo) -> None:
    victim = demo.victim = announcements(demo.lab)[demo.vips[0]][0]
    survivors = tuple(host.name for host in demo.lab.topology.of_role(Role.LB_NODE) if host.name != victim)
    demo.console.print(Rule(f"{victim} dies: its agent killed, its cable dead, while traffic goes on"))
    rate = max(20, demo.share // 10)
    streams = [Stream(demo.lab, target, rate=rate) for target in demo.web]
    with demo.console.status("Sending"), ExitStack() as sending:
        for stream in streams:
            sending.enter_context(stream)
        _wait_for_more(streams, rate)
        began = time.monotonic()
        faults.kill_node(demo.lab, victim)
        wait_until(lambda: _all_lead_to(demo, survivors), what="The routes' move", every=0.01)
        seconds = time.monotonic() - began
        _wait_for_more(streams, rate)
    sent = [stream.tally for stream in streams]
    demo.show()
    demo.console.print(picture.answers(sent))
    lost, made = sum(sum(tally.failures.values()) for tally in sent), sum(len(tally.answers) for tally in sent)
    demo.console.print(f"  {lost} of {made} connections failed meanwhile; the routes moved in {seconds:.2f} s")
    demo.claim("at most 1 % of the connections made meanwhile failed", holds=lost * 100 <= made)
    for target in demo.web:
        _claim_answers(demo, traffic.send(demo.lab, target, demo.share), 4)


def _wait_for_more(streams: list[Stream], number: int) -> None:
    for stream in streams:
        stream.wait_for_more(number)


def _all_lead_to(demo: Demo, nodes: tuple[str, ...]) -> bool:
    routes = announcements(demo.lab)
    return all(routes.get(vip) == nodes for vip in demo.vips)


def _claim_answers(demo: Demo, tally: Tally, instances: int) -> None:
    names = ", ".join(tally.by_instance)
    why = "".join(f" ({count}: {words})" for words, count in tally.failures.items())
    demo.claim(f"{tally.target}: every request was answered{why}", holds=not tally.failures)
    demo.claim(f"{tally.target}: {instances} instances answered ({names})", holds=len(tally.by_instance) == instances)
    demo.claim(f"{tally.target}: each saw the client's own address", holds=not tally.disguised)


def _wait_until_answered_by(demo: Demo, targets: tuple[Target, ...], instances: int) -> None:
    def answered() -> bool:
        tallies = [traffic.send(demo.lab, target, 64, timeout=2) for target in targets]
        return all(len(tally.by_instance) >= instances and not tally.failures for tally in tallies)

    wait_until(answered, what=f"An answer of {instances} instances at {' and '.join(map(str, demo.vips))}", timeout=75)

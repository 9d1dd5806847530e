"""`make demo`: every claim made here is checked, and a false one makes the demo fail."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from rich.console import Console
from rich.rule import Rule

from bascule.lab import faults, life, passage, picture, traffic
from bascule.lab.control_plane import ControlPlane, Port
from bascule.lab.observe import observe
from bascule.lab.router import announcements
from bascule.lab.state import Lab
from bascule.lab.stream import Stream
from bascule.lab.topology import INSTANCE_PORT, Role, Shape
from bascule.lab.traffic import Tally, Target
from bascule.lab.waiting import wait_until
from bascule.model.addresses import IPAddress
from bascule.model.strategies import Protocol

WEB = Port(name="web", protocol=Protocol.TCP, port=80, target_port=INSTANCE_PORT)
WHO = Port(name="who", protocol=Protocol.UDP, port=53, target_port=INSTANCE_PORT)
EXCHANGES = 2000
_NO_ADDRESS = IPv4Address(0)
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
    vip: IPAddress = _NO_ADDRESS
    victim: str = ""
    false_claims: list[str] = field(default_factory=list)

    @property
    def targets(self) -> tuple[Target, Target]:
        """The two services."""
        return Target(WEB.protocol, self.vip, WEB.port), Target(WHO.protocol, self.vip, WHO.port)

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
        _PLAY.format(name=name, vip=demo.vip, victim=demo.victim)
        if keep
        else "The lab is gone again. To keep it: --keep",
        highlight=False,
    )
    return not demo.false_claims


def _create(demo: Demo) -> None:
    demo.console.print(Rule("A load balancer with two services over three instances"))
    with demo.console.status("Creating"):
        balancer = demo.api.create_load_balancer("demo")
        for port in (WEB, WHO):
            demo.api.add_service(balancer.id, port)
        demo.vip = balancer.ip
        _wait_until_answered_by(demo, demo.targets, 3)
    demo.show()
    nodes = announcements(demo.lab).get(demo.vip, ())
    demo.claim(f"{demo.vip} is announced by {' and '.join(nodes) or 'nobody'}", holds=len(nodes) == 2)


def _send(demo: Demo) -> None:
    demo.console.print(Rule(f"{demo.exchanges} TCP connections and {demo.exchanges} UDP requests"))
    before = passage.read(demo.lab)
    with demo.console.status("Sending"):
        tallies = [traffic.send(demo.lab, target, demo.exchanges) for target in demo.targets]
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
        _wait_until_answered_by(demo, demo.targets[:1], 4)
        seconds = time.monotonic() - began
        tally = traffic.send(demo.lab, demo.targets[0], demo.exchanges)
    demo.console.print(picture.answers([tally]))
    demo.claim(
        f"the fourth instance served {seconds:.1f} s after the request to scale",
        holds=seconds < 10 * demo.lab.shape.check_interval,
    )
    _claim_answers(demo, tally, 4)


def _kill_a_node(demo: Demo) -> None:
    victim = demo.victim = announcements(demo.lab)[demo.vip][0]
    survivors = [host.name for host in demo.lab.topology.of_role(Role.LB_NODE) if host.name != victim]
    demo.console.print(Rule(f"{victim} dies: its agent killed, its cable dead, while traffic goes on"))
    rate = max(20, demo.exchanges // 10)
    sending = Stream(demo.lab, demo.targets[0], rate=rate)
    with demo.console.status(f"Sending {rate} connections a second"), sending as stream:
        stream.wait_for_more(rate)
        began = time.monotonic()
        faults.kill_node(demo.lab, victim)
        wait_until(
            lambda: announcements(demo.lab).get(demo.vip) == tuple(survivors), what="The route's move", every=0.01
        )
        seconds = time.monotonic() - began
        stream.wait_for_more(rate)
    sent = stream.tally
    demo.show()
    demo.console.print(picture.answers([sent]))
    lost = sum(sent.failures.values())
    demo.console.print(
        f"  {lost} of {len(sent.answers)} connections failed meanwhile; the route moved in {seconds:.2f} s"
    )
    demo.claim("at most 1 % of the connections made meanwhile failed", holds=lost * 100 <= len(sent.answers))
    after = traffic.send(demo.lab, demo.targets[0], demo.exchanges)
    _claim_answers(demo, after, 4)


def _claim_answers(demo: Demo, tally: Tally, instances: int) -> None:
    names = ", ".join(tally.by_instance)
    demo.claim(f"{tally.target}: every request was answered", holds=not tally.failures)
    demo.claim(f"{tally.target}: {instances} instances answered ({names})", holds=len(tally.by_instance) == instances)
    demo.claim(f"{tally.target}: each saw the client's own address", holds=not tally.disguised)


def _wait_until_answered_by(demo: Demo, targets: tuple[Target, ...], instances: int) -> None:
    def answered() -> bool:
        tallies = [traffic.send(demo.lab, target, 64, timeout=2) for target in targets]
        return all(len(tally.by_instance) >= instances and not tally.failures for tally in tallies)

    wait_until(answered, what=f"An answer of {instances} instances at {demo.vip}", timeout=75)

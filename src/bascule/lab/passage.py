"""Which way packets pass the router: nftables counters there, because the router is the one place all of them cross.

`replies_from_lb_nodes` counts packets that come from an LB node and carry a VIP as their source. Replies are the only
packets that carry it, so with direct replies that count stays 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network

from bascule.lab.network import namespace
from bascule.lab.state import Lab
from bascule.lab.topology import VIPS, Role
from bascule.system.commands import run
from bascule.system.namespaces import call_in

_TABLE = """table ip passage {{
  counter requests_to_lb_nodes {{}}
  counter tunnelled_from_lb_nodes {{}}
  counter replies_from_lb_nodes {{}}
  counter replies_from_hypervisors {{}}
  chain arrivals {{
    type filter hook prerouting priority raw;
    iifname "client" ip daddr {vips} counter name requests_to_lb_nodes
    iifname {{ {lb_nodes} }} ip saddr {vips} counter name replies_from_lb_nodes
    iifname {{ {lb_nodes} }} ip protocol 4 counter name tunnelled_from_lb_nodes
    iifname {{ {hypervisors} }} ip saddr {vips} counter name replies_from_hypervisors
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Packets and bytes that passed the router since it was built."""

    requests_to_lb_nodes: tuple[int, int] = (0, 0)
    tunnelled_from_lb_nodes: tuple[int, int] = (0, 0)
    replies_from_lb_nodes: tuple[int, int] = (0, 0)
    replies_from_hypervisors: tuple[int, int] = (0, 0)

    def since(self, before: Passage) -> Passage:
        """What passed since then."""
        return Passage(
            requests_to_lb_nodes=_less(self.requests_to_lb_nodes, before.requests_to_lb_nodes),
            tunnelled_from_lb_nodes=_less(self.tunnelled_from_lb_nodes, before.tunnelled_from_lb_nodes),
            replies_from_lb_nodes=_less(self.replies_from_lb_nodes, before.replies_from_lb_nodes),
            replies_from_hypervisors=_less(self.replies_from_hypervisors, before.replies_from_hypervisors),
        )

    @property
    def direct(self) -> bool:
        """Whether every reply came straight from a hypervisor, and there was at least one."""
        return self.replies_from_hypervisors[0] > 0 and self.replies_from_lb_nodes[0] == 0


def render(lb_nodes: Iterable[str], hypervisors: Iterable[str], vips: IPv4Network = VIPS) -> str:
    """The table of counters; the router's interfaces are named after what is plugged into them."""
    return _TABLE.format(vips=vips, lb_nodes=", ".join(lb_nodes), hypervisors=", ".join(hypervisors))


def start_counting(lab: Lab) -> None:
    """Put the counters in place."""
    names = {role: [host.name for host in lab.topology.of_role(role)] for role in Role}
    table = render(names[Role.LB_NODE], names[Role.HYPERVISOR])
    call_in(namespace(lab.name, "router"), lambda: run(["nft", "-f", "-"], stdin=table))


def read(lab: Lab) -> Passage:
    """Read the counters."""
    answer = call_in(
        namespace(lab.name, "router"), lambda: run(["nft", "-j", "list", "counters", "table", "ip", "passage"])
    )
    return parse(answer)


def parse(answer: str) -> Passage:
    """Read nft's JSON."""
    found = [entry["counter"] for entry in json.loads(answer)["nftables"] if "counter" in entry]
    return Passage(**{counter["name"]: (counter["packets"], counter["bytes"]) for counter in found})


def _less(now: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    return now[0] - before[0], now[1] - before[1]

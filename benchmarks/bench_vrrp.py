"""How long an address of VRRP is silent when its node fails, with the settings we ship: seconds, a few runs of each.

A client asks every 10 ms, over a bridge, which node answers; each node answers by itself (no data plane).
Run as root: python -m benchmarks.bench_vrrp [RUNS]
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from itertools import pairwise
from statistics import median

from bascule.system.namespaces import call_in
from tests.vrrp_segment import NODES, Node, Segment
from tests.waiting import until

VIP = IPv4Address("203.0.113.18")
PORT, EVERY = 5000, 0.01


def answer(name: str) -> None:
    """Answer every datagram with the node's name, for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaking:
        speaking.bind(("0.0.0.0", PORT))  # noqa: S104  in a namespace of its own
        while True:
            speaking.sendto(name.encode(), speaking.recvfrom(64)[1])


def ask(answers: list[tuple[float, str]], end: threading.Event) -> None:
    """Note when who answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaking:
        speaking.settimeout(EVERY)
        while not end.is_set():
            try:
                speaking.sendto(b"?", (str(VIP), PORT))
                answers.append((time.monotonic(), speaking.recv(64).decode()))
                time.sleep(EVERY)
            except OSError:
                continue


def stop_in_order(node: Node) -> None:
    """As when the node is drained."""
    node.enforce()


def kill(node: Node) -> None:
    """keepalived dies; the agent lives."""
    node.kill_keepalived()


def freeze(node: Node) -> None:
    """keepalived stands still; the agent lives."""
    node.kill_keepalived(signal.SIGSTOP)


def pull(node: Node) -> None:
    """The node's cable."""
    node.segment.plug(node.name, up=False)


def silence(fault: Callable[[Node], None]) -> tuple[float, bool]:
    """The longest silence, and whether the failed node still had the address when the other one had it too."""
    with Segment() as segment:
        for name in NODES:
            answering = threading.Thread(target=answer, args=(name,), daemon=True)
            call_in(segment.of(name), answering.start)
            segment.nodes[name].enforce(VIP)
        segment.ip("client", f"route add {VIP} dev eth0")
        until("the master", lambda: segment.holders(VIP) == {"a"})
        answers: list[tuple[float, str]] = []
        end = threading.Event()
        asking = threading.Thread(target=ask, args=(answers, end))
        segment.inside("client", asking.start)
        until("answers", lambda: len(answers) > 20)
        fault(segment.nodes["a"])
        until("the other node", lambda: answers[-1][1] == "b", 20)
        both = segment.holders(VIP) == {"a", "b"} and fault is not pull
        end.set()
        asking.join()
    times = [when for when, _ in answers]
    return max(after - before for before, after in pairwise(times)), both


def main() -> None:
    """Print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for fault in (stop_in_order, kill, freeze, pull):
        found = [silence(fault) for _ in range(runs)]
        times = sorted(each for each, _ in found)
        both = sum(each for _, each in found)
        print(f"{fault.__name__:14} median {median(times):.2f}  longest {times[-1]:.2f}  both had it {both} of {runs}")


if __name__ == "__main__":
    main()

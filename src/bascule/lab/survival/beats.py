"""The measuring stick: hundreds of flows with heartbeats in one loop, a process of its own in the client's namespace.

    python -m bascule.lab.survival.beats PLAN.json RECORDS.json

Prints `ready` once all flows are open, and stops when its standard input ends: then it writes what became of each.
A plain epoll loop, because asyncio would cost twice as much for each of some ten thousand messages a second. One
process, so that flows and control connections suffer the same delays of this machine.
"""

from __future__ import annotations

import gc
import os
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from pydantic import TypeAdapter

from bascule.lab.survival.flows import PATIENCE, Flow, Kind, Record
from bascule.lab.traffic import client_socket

# How many connections are being opened at a time, before the measurement.
_OPENING = 64
# New connections are no longer opened, and those on their way get this long, before the books are closed.
_LAST_ANSWERS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to keep up. `interval` is seconds between two heartbeats of a flow, `rate` new connections a second, each
    of which lives for `lifetime` seconds. `controls` are addresses of instances, `control_connections` to each; they
    come from `control_source`, which no flow through the address may use: to an instance both would be one connection
    if they had the same port.
    """

    address: str
    tcp_port: int
    udp_port: int
    control_port: int
    sources: tuple[str, ...]
    control_source: str
    controls: tuple[str, ...] = ()
    control_connections: int = 10
    connections: int = 500
    datagram_flows: int = 200
    interval: float = 0.05
    rate: float = 20.0
    lifetime: float = 5.0


PLAN, RECORDS = TypeAdapter(Plan), TypeAdapter(tuple[Record, ...])


@dataclass(slots=True, eq=False)
class _Line:
    """A flow and its socket."""

    flow: Flow
    socket: socket.socket
    connected: bool = False
    rest: bytes = b""
    closing: float = field(default=float("inf"))

    @property
    def greeted(self) -> bool:
        return bool(self.flow.instance)


class Beats:
    """The loop. `clock` tells seconds."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._clock = clock
        self._sources = cycle(plan.sources)
        self._selector = selectors.EpollSelector()
        # All flows have one interval: who was asked last is due last, so this queue is always in order.
        self._due: deque[tuple[float, _Line]] = deque()
        self._opening: set[_Line] = set()
        self._lines: list[_Line] = []
        self._stopped = False

    @property
    def flows(self) -> list[Flow]:
        """The books of every flow so far."""
        return [line.flow for line in list(self._lines)]

    def open(self) -> None:
        """Open everything that is to last. Raises OSError when a part of it cannot be had within half a minute."""
        plan = self._plan
        wanted = [(Kind.HELD, plan.address, plan.tcp_port)] * plan.connections
        wanted += [
            (Kind.CONTROL, each, plan.control_port) for each in plan.controls for _ in range(plan.control_connections)
        ]
        end = self._clock() + 30.0
        while (wanted or self._opening) and self._clock() < end:
            while wanted and len(self._opening) < _OPENING:
                self._connect(*wanted.pop())
            self._listen(0.05)
        failed = [line for line in self._lines if not line.flow.open]
        if failed or wanted:
            raise OSError(f"{len(failed) + len(wanted)} connections could not be opened: {failed[0].flow.refused}")
        for _ in range(plan.datagram_flows):
            self._add(Kind.DATAGRAMS, socket.SOCK_DGRAM, plan.address, plan.udp_port)

    def run(self, stop: int) -> tuple[Record, ...]:
        """Keep them up until the descriptor `stop` ends; the books of every flow, of those that came meanwhile too."""
        plan, now = self._plan, self._clock()
        step = plan.interval / max(1, len(self._lines))
        self._due.extend((now + index * step, line) for index, line in enumerate(self._lines))
        for line in self._lines:
            # It is first asked up to an interval later.
            line.flow.begin(now + plan.interval)
        self._selector.register(stop, selectors.EVENT_READ, None)
        next_new = now if plan.rate else float("inf")
        end = float("inf")
        while (now := self._clock()) < end:
            if self._stopped and end == float("inf"):
                self._selector.unregister(stop)
                end, next_new = now + _LAST_ANSWERS, float("inf")
            while next_new <= now:
                self._connect(Kind.NEW, plan.address, plan.tcp_port)
                next_new = max(next_new + 1 / plan.rate, now - 0.2)
            self._beat(now)
            due = self._due[0][0] if self._due else now + plan.interval
            self._listen(max(0.0, min(due, next_new, end) - self._clock()))
        return self._finish()

    def _beat(self, now: float) -> None:
        """Ask everyone who is due, never again before a whole interval has passed."""
        while self._due and self._due[0][0] <= now:
            _, line = self._due.popleft()
            flow = line.flow
            if line.closing <= now:
                self._let_go(line)
            elif flow.open or (flow.kind is Kind.DATAGRAMS and not flow.broken):
                self._send(line, b"%s%d\n" % (b"HOLD " if flow.kind is Kind.DATAGRAMS else b"", flow.beat(now)))
                now = self._clock()
                self._due.append((now + flow.interval, line))

    def _send(self, line: _Line, words: bytes) -> None:
        try:
            line.socket.send(words)
        except BlockingIOError:
            line.flow.breaks("the send buffer is full", self._clock())
        except OSError as error:
            self._failed(line, error)

    def _listen(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._stopped = not os.read(key.fd, 64)
            elif key.data.connected:
                self._receive(key.data)
            else:
                self._connected(key.data)
        now = self._clock()
        for line in [each for each in self._opening if now - each.flow.began > PATIENCE]:
            self._failed(line, TimeoutError("no answer in time"))

    def _connected(self, line: _Line) -> None:
        if code := line.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._failed(line, OSError(code, os.strerror(code)))
            return
        line.connected = True
        self._selector.modify(line.socket, selectors.EVENT_READ, line)
        self._send(line, b"HOLD\n")

    def _receive(self, line: _Line) -> None:
        try:
            data = line.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(line, error)
            return
        if data:
            self._heard(line, data)
        else:
            self._failed(line, ConnectionError("closed by the other end"))

    def _heard(self, line: _Line, data: bytes) -> None:
        now, flow = self._clock(), line.flow
        *answers, line.rest = (line.rest + data).split(b"\n")
        for answer in answers:
            name, _, number = answer.partition(b" ")
            if number:
                flow.answered(name.decode(), int(number), now)
            else:
                flow.greeted(name.decode(), now)
                self._opening.discard(line)
                if flow.kind is Kind.NEW:
                    line.closing = now + self._plan.lifetime
                    self._due.append((now + flow.interval, line))

    def _connect(self, kind: Kind, address: str, port: int) -> None:
        line = self._add(kind, socket.SOCK_STREAM, address, port)
        if line is not None:
            self._opening.add(line)

    def _add(self, kind: Kind, way: socket.SocketKind, address: str, port: int) -> _Line | None:
        made = client_socket(way, self._plan.control_source if kind is Kind.CONTROL else next(self._sources))
        line = _Line(Flow(kind, self._plan.interval, self._clock()), made)
        self._lines.append(line)
        try:
            made.connect((address, port))
        except BlockingIOError:
            pass
        except OSError as error:
            line.flow.refused = error.strerror or str(error)
            made.close()
            return None
        line.connected = way is socket.SOCK_DGRAM
        if not line.connected:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A connection is there once it can be written to.
        self._selector.register(made, selectors.EVENT_READ if line.connected else selectors.EVENT_WRITE, line)
        return line

    def _failed(self, line: _Line, error: OSError) -> None:
        if line.flow.kind is Kind.DATAGRAMS:
            return  # a refused datagram is a lost one; the flow goes on
        words = os.strerror(error.errno) if error.errno else str(error)
        if line.greeted:
            line.flow.breaks(words, self._clock())
        else:
            line.flow.refused = words
        self._let_go(line)

    def _let_go(self, line: _Line) -> None:
        self._opening.discard(line)
        with suppress(KeyError, ValueError):
            self._selector.unregister(line.socket)
        line.socket.close()

    def _finish(self) -> tuple[Record, ...]:
        now = self._clock()
        for line in self._opening:
            line.flow.refused = "no answer in time"
        records = tuple(line.flow.finish(min(now, line.closing)) for line in self._lines)
        for line in self._lines:
            line.socket.close()
        self._selector.close()
        return records


def main(plan: Path, records: Path) -> None:
    """Measure until standard input ends."""
    beats = Beats(PLAN.validate_json(plan.read_bytes()))
    beats.open()
    # A pause to collect garbage would look like a silence of every flow.
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    records.write_bytes(RECORDS.dump_json(beats.run(sys.stdin.fileno())))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

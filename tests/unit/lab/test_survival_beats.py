"""The loop of flows against real instance servers on this machine."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bascule.lab.instance_server import listening
from bascule.lab.survival.beats import Beats, Plan
from bascule.lab.survival.flows import Kind, Record
from bascule.lab.waiting import wait_until

_HOME = "127.0.0.1"


def _plan(port: int, *, connections: int = 20, datagram_flows: int = 5, rate: float = 40.0) -> Plan:
    return Plan(
        address=_HOME,
        tcp_port=port,
        udp_port=port,
        control_port=port,
        sources=(_HOME,),
        control_source="127.0.0.2",
        controls=(_HOME,),
        control_connections=3,
        connections=connections,
        datagram_flows=datagram_flows,
        interval=0.02,
        rate=rate,
        lifetime=0.3,
    )


@contextmanager
def _instance(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An instance's server as a process that can be killed."""
    command = [sys.executable, "-m", "bascule.lab.instance_server", "me", str(port), _HOME]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: _accepts(port), what="The instance's server")
            yield process
        finally:
            process.kill()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((_HOME, port), timeout=1).close()
    except OSError:
        return False
    return True


def _measure(plan: Plan, meanwhile: Callable[[Beats], None]) -> list[Record]:
    """Run the loop in a thread until `meanwhile` has ended."""
    beats = Beats(plan)
    beats.open()
    reading, writing = os.pipe()
    found: list[Record] = []
    thread = threading.Thread(target=lambda: found.extend(beats.run(reading)))
    thread.start()
    try:
        meanwhile(beats)
    finally:
        os.close(writing)
        thread.join()
        os.close(reading)
    return found


def _wait_for_beats(number: int) -> Callable[[Beats], None]:
    def wait(beats: Beats) -> None:
        wait_until(lambda: sum(flow.sent for flow in beats.flows) >= number, what=f"{number} beats", timeout=30)

    return wait


def _wait_for_refusal(beats: Beats) -> None:
    wait_until(lambda: "Connection refused" in {flow.refused for flow in beats.flows}, what="A refusal", timeout=30)


def test_flows_over_a_healthy_instance_are_all_answered(unused_port: int) -> None:
    """Held, new, UDP and control flows: each is answered by name, in order, without a break, a loss or a refusal."""
    with _instance(unused_port):
        records = _measure(_plan(unused_port), _wait_for_beats(1000))
    kinds = Counter(each.kind for each in records)
    assert (kinds[Kind.HELD], kinds[Kind.DATAGRAMS], kinds[Kind.CONTROL]) == (20, 5, 3)
    assert kinds[Kind.NEW] > 0
    assert {each.instance for each in records} == {"me"}
    assert {(each.broken, each.refused, each.lost, each.duplicates) for each in records} == {("", "", 0, 0)}


def test_a_killed_instance_breaks_its_connections_and_refuses_new_ones(unused_port: int) -> None:
    """Every connection open at the time is broken, every new one refused, and datagrams go unanswered."""
    with _instance(unused_port) as process:

        def kill(beats: Beats) -> None:
            _wait_for_beats(200)(beats)
            process.kill()
            process.wait()
            _wait_for_refusal(beats)

        records = _measure(_plan(unused_port), kill)
    held = [each for each in records if each.kind is Kind.HELD]
    assert {each.broken for each in held} <= {"closed by the other end", "Connection reset by peer"}


def test_without_an_instance_nothing_begins(unused_port: int) -> None:
    """A measurement whose connections cannot be opened says so instead of measuring nothing."""
    with pytest.raises(OSError, match="23 connections could not be opened: Connection refused"):
        Beats(_plan(unused_port)).open()


def test_a_held_connection_answers_lines_however_they_come(unused_port: int) -> None:
    """After the greeting each line is answered with the name and the line, also when cut or joined on the way."""

    async def body() -> bytes:
        async with listening("me", unused_port, _HOME):
            reader, writer = await asyncio.open_connection(_HOME, unused_port)
            writer.write(b"HOLD\n")
            assert await reader.readline() == b"me\n"
            for part in (b"1\n2\n3", b"4\n"):
                writer.write(part)
                await writer.drain()
            answers = await reader.readexactly(len(b"me 1\nme 2\nme 34\n"))
            writer.close()
            return answers

    assert asyncio.run(body()) == b"me 1\nme 2\nme 34\n"

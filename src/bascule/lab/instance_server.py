"""What runs on an instance: a small web server and a UDP server that say who they are and whom they see.

    GET  /            {"name", "address", "client", "connections"}
    GET  /bytes/<n>   n bytes
    PUT  /bytes       answers how many bytes came, and their SHA-256
    GET  /healthz     200, or what POST /healthz last set ("200" or "503" as its body)
    HOLD              not HTTP: answered with the instance's name; await that, then every line is answered with the
                      name, a space and the line
    HOLD words        as a UDP datagram: answered with the name, a space and the words
    other datagrams   the same JSON as GET /, with what was sent as "echo"

Run as `python -m bascule.lab.instance_server NAME PORT ADDRESS…`. Standard library only, so that it starts at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from itertools import repeat
from typing import cast

_BLOCK = bytes(range(256)) * 256
_HOLD = b"HOLD "


class Instance:
    """One instance's servers and what they remember."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.health = HTTPStatus.OK

    def about(self, client: str, address: str) -> dict[str, object]:
        """Who answers at which address, and whom it sees."""
        return {"name": self.name, "address": address, "client": client, "connections": self.connections}

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one TCP connection to its end."""
        self.connections += 1
        try:
            line = await reader.readline()
            await (self._hold(writer) if line.strip() == b"HOLD" else self._http(line, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass  # the client left, or spoke something else: nothing to answer
        finally:
            writer.close()

    async def _hold(self, writer: asyncio.StreamWriter) -> None:
        # Thousands of heartbeats a second are too many for a stream with its buffers and tasks.
        held = HeldConnection(self.name, writer.transport)
        writer.transport.set_protocol(held)
        writer.transport.write(f"{self.name}\n".encode())
        await held.ended

    async def _http(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, _ = line.decode("latin-1").split()
        length = 0
        while (header := await reader.readline()).strip():
            name, _, value = header.decode("latin-1").partition(":")
            length = int(value) if name.lower() == "content-length" else length
        client, address = (writer.get_extra_info(end)[0] for end in ("peername", "sockname"))
        if method == "GET" and path.startswith("/bytes/"):
            await _send_bytes(writer, int(path.removeprefix("/bytes/")))
        elif method == "PUT":
            await _answer(writer, HTTPStatus.OK, await _digest(reader, length))
        elif path == "/healthz":
            body = (await reader.readexactly(length)).decode()
            self.health = HTTPStatus(int(body)) if method == "POST" else self.health
            await _answer(writer, HTTPStatus.OK if method == "POST" else self.health, {"health": self.health})
        else:
            await _answer(writer, HTTPStatus.OK, self.about(client, address))


class HeldConnection(asyncio.Protocol):
    """Answers every line with the instance's name, a space and the line."""

    def __init__(self, name: str, transport: asyncio.WriteTransport) -> None:
        self._head = f"{name} ".encode()
        self._transport = transport
        self._rest = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Answer the lines that are complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._transport.write(b"".join(self._head + line + b"\n" for line in lines))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go; why it ended is all one."""
        del exc
        if not self.ended.done():
            self.ended.set_result(None)


class DatagramServer(asyncio.DatagramProtocol):
    """Answers every datagram with who answers and whom it sees."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one datagram."""
        if data.startswith(_HOLD):
            self._transport.sendto(self._instance.name.encode() + data[len(_HOLD) - 1 :], addr)
            return
        answer = self._instance.about(addr[0], self._transport.get_extra_info("sockname")[0]) | {
            "echo": data.decode("latin-1")
        }
        self._transport.sendto(json.dumps(answer).encode(), addr)


async def _answer(writer: asyncio.StreamWriter, status: HTTPStatus, body: dict[str, object]) -> None:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    await writer.drain()


async def _send_bytes(writer: asyncio.StreamWriter, count: int) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {count}\r\n\r\n".encode())
    for block in repeat(_BLOCK, count // len(_BLOCK)):
        writer.write(block)
        await writer.drain()
    writer.write(_BLOCK[: count % len(_BLOCK)])
    await writer.drain()


async def _digest(reader: asyncio.StreamReader, length: int) -> dict[str, object]:
    digest, left = hashlib.sha256(), length
    while left:
        block = await reader.read(min(left, len(_BLOCK)))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    return {"bytes": length - left, "sha256": digest.hexdigest()}


@asynccontextmanager
async def listening(name: str, port: int, *addresses: str) -> AsyncIterator[asyncio.Server]:
    """An instance that listens while the body runs."""
    instance = Instance(name)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for address in addresses:
            local = (address, port)
            endpoint, _ = await loop.create_datagram_endpoint(lambda: DatagramServer(instance), local_addr=local)
            stack.callback(endpoint.close)
        server = await asyncio.start_server(instance.serve_connection, addresses, port, backlog=1024)
        yield await stack.enter_async_context(server)


async def serve(name: str, port: int, *addresses: str) -> None:
    """Serve until killed."""
    async with listening(name, port, *addresses) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))

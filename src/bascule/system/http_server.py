"""Serve an HTTP application until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from socket import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from bascule.model.errors import InvalidInput, SystemFailure


class _Server(uvicorn.Server):
    """Tells when it listens."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()


def serve(app: FastAPI, listen: str, *, ready: Callable[[], None] = lambda: None) -> None:
    """Listen on "host:port"; `ready` is called when that is so. Returns after a signal, once answers in flight ended.

    Raises InvalidInput, and SystemFailure when the address cannot be had.
    """
    host, _, port = listen.rpartition(":")
    if not (host and port.isdecimal()):
        raise InvalidInput(f"{listen!r} is not host:port, such as 127.0.0.1:7701.", field="listen")
    # uvicorn raises the signal again when it is done: that ends the process with status 0, not with an error.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    settings = uvicorn.Config(
        app,
        host=host.strip("[]"),
        port=int(port),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = _Server(settings)
    server.ready = ready
    # Answers that never end by themselves ask this, so that they need not be cut off.
    app.state.leaving = lambda: server.should_exit
    try:
        server.run()
    except SystemExit as error:
        if server.started:
            raise
        raise SystemFailure(f"Cannot listen on {listen}: free this address and port, or choose another.") from error


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)

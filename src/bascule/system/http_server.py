"""Serve an HTTP application until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from bascule.model.errors import InvalidInput


def serve(app: FastAPI, listen: str) -> None:
    """Listen on "host:port". Raises InvalidInput. Returns after a signal, once requests in flight have ended."""
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
    server = uvicorn.Server(settings)
    # Answers that never end by themselves ask this, so that they need not be cut off.
    app.state.leaving = lambda: server.should_exit
    server.run()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)

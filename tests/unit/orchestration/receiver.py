"""A receiver of pages on the loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "correct-horse-battery"


@dataclass
class Receiver:
    """An HTTP server that takes pages, answers `status`, and hangs while `hangs` is not set."""

    status: int = 200
    taken: list[dict[str, Any]] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.goes_on.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.goes_on.wait(30)
                if receiver.status == 200:
                    receiver.taken.append(body)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        """As BASCULE_PAGE_URLS takes it."""
        return f"json://operator:{SECRET}@127.0.0.1:{self.server.server_port}"

    def titles(self) -> list[tuple[str, str]]:
        """Title and kind of every page taken."""
        return [(page["title"], page["type"]) for page in self.taken]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """One receiver, for a while."""
    made = Receiver()
    yield made
    made.goes_on.set()
    made.server.shutdown()
    made.server.server_close()

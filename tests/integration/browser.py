"""A real browser that tests can ask: Chromium without a window, over its DevTools protocol.

The protocol (https://chromedevtools.github.io/devtools-protocol/) is spoken over two pipes, a zero byte behind each
message, so that no port is open and no library is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

Json = dict[str, Any]
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads from its third and writes to its fourth file descriptor.
_WIRED = 'exec "$@" 3<&"$READ" 4>&"$WRITE"'


class Page:
    """One tab. `complaints` are errors of scripts and of the content policy, `asked` the addresses that were loaded."""

    def __init__(self, to_browser: BinaryIO, from_browser: BinaryIO) -> None:
        self._to, self._from = to_browser, from_browser
        self._number, self._session = 0, ""
        self.complaints: list[Json] = []
        self.asked: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self._call(f"{domain}.enable")

    def look(self, *, width: int, dark: bool = False) -> None:
        """See pages on a screen so many pixels wide."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression says; None when it says nothing."""
        return self._evaluate(expression).get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true, as often as the page is drawn."""
        look = f"new Promise((done) => {{ (function look() {{ ({condition}) ? done() : setTimeout(look, 20); }})(); }})"
        self._evaluate(look, awaitPromise=True)

    def _evaluate(self, expression: str, **options: object) -> Json:
        while True:
            answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, **options)
            if "result" in answer:
                assert "exceptionDetails" not in answer, answer
                result: Json = answer["result"]
                return result

    def _call(self, method: str, **parameters: object) -> Json:
        """Raises AssertionError for a refusal, but for that of a page that was left meanwhile: that answers {}."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()).get("id") != self._number:
            self._hear(answer)
        error = answer.get("error", {}).get("message", "")
        assert not error or "navigated" in error or "context was destroyed" in error, error
        result: Json = answer.get("result", {})
        return result

    def _read(self) -> Json:
        text = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "the browser has gone"
            text += byte
        message: Json = json.loads(text)
        return message

    def _hear(self, event: Json) -> None:
        match event.get("method"):
            case "Runtime.exceptionThrown" | "Log.entryAdded":
                self.complaints.append(event["params"])
            case "Network.requestWillBeSent":
                self.asked.append(event["params"]["request"]["url"])


@contextmanager
def browser(home: Path) -> Iterator[Page]:
    """A new browser whose files are below `home`. Skips where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Debian's package chromium, which make setup leaves out because it is large")
    their_end, to_browser = os.pipe()
    from_browser, their_other_end = os.pipe()
    process = subprocess.Popen(
        ["bash", "-c", _WIRED, "bash", program, *_OPTIONS, f"--user-data-dir={home}"],
        env={**os.environ, "READ": str(their_end), "WRITE": str(their_other_end), "HOME": str(home)},
        pass_fds=(their_end, their_other_end),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_end)
    os.close(their_other_end)
    try:
        with os.fdopen(to_browser, "wb") as writer, os.fdopen(from_browser, "rb") as reader:
            yield Page(writer, reader)
    finally:
        try:
            process.wait(timeout=30)  # It leaves when its pipes are closed.
        except subprocess.TimeoutExpired:
            process.kill()
            raise

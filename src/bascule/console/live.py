"""Pages that stay true: what a page shows is a few parts, sent once with the page and again whenever one changes.

The parts come as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), named as the
element whose content they are; `end` says that nothing will change any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from fastapi.sse import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from bascule.model.errors import BasculeError, NotFound

T = TypeVar("T")
LOOK_EVERY = 0.5  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a page shows. `status` and `live` are None when they are not known: what was shown before stays.

    `notice` and `status` are text, `live` is HTML. `code` is the HTTP status of the page.
    """

    notice: str = ""
    status: str | None = None
    live: str | None = None
    ended: bool = False
    code: int = HTTPStatus.OK

    def told(self) -> dict[str, str]:
        """What there is, by the name of its element."""
        parts = {"notice": self.notice, "status": self.status, "live": self.live}
        return {name: text for name, text in parts.items() if text is not None}


Show = Callable[[], Parts]
"""Asks the API and renders what it answered. Blocks, and raises what the client raises."""


def renderer(ask: Callable[[], T], render: Callable[[T], Parts]) -> Show:
    """Renders what the API answers, anew only when it answers something else: a large tree takes half a second."""
    last: tuple[T, Parts] | None = None

    def show() -> Parts:
        nonlocal last
        answer = ask()
        if last is None or last[0] != answer:
            last = answer, render(answer)
        return last[1]

    return show


def shown(show: Show) -> Parts:
    """What to show, or the sentence why there is nothing."""
    try:
        return show()
    except NotFound as error:
        return Parts(notice=error.sentence, ended=True, code=error.status)
    except BasculeError as error:
        notice = f"{error.sentence} This page tries again by itself."
        return Parts(notice=notice, code=HTTPStatus.SERVICE_UNAVAILABLE)


async def follow(show: Show, leaving: Callable[[], bool]) -> AsyncIterator[ServerSentEvent]:
    """The parts, each when it first shows and whenever it changes, until nothing will or the console is `leaving`."""
    told: dict[str, str] = {}
    while not leaving():
        parts = await run_in_threadpool(shown, show)
        for name, text in parts.told().items():
            if told.get(name) != text:
                told[name] = text
                yield ServerSentEvent(event=name, raw_data=text)
        if parts.ended:
            yield ServerSentEvent(event="end", raw_data="")
            return
        await asyncio.sleep(LOOK_EVERY)

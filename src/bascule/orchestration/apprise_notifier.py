"""Reach humans through Apprise: PagerDuty (Events API v2), mail, chat and a hundred others, each named by a URL.

Such URLs hold secrets: none of them, and nothing that Apprise says of them, gets into a log or an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Collection, Iterable

from apprise import Apprise, NotifyBase, NotifyType

from bascule.model.errors import InvalidInput, Unavailable
from bascule.orchestration.pages import Page


class AppriseNotifier:
    """One receiver a URL. `timeout` is seconds for one page to one receiver; sentences name `setting`, where URLs are.

    Raises InvalidInput that tells which URL is wrong, by its number and scheme.
    """

    def __init__(self, urls: Iterable[str], *, timeout: float = 30.0, setting: str = "the list of URLs") -> None:
        for chatty in ("apprise", "urllib3"):
            logging.getLogger(chatty).setLevel(logging.CRITICAL)
        services = [_service(url, number, setting) for number, url in enumerate(urls, start=1)]
        self._services = {_name(service): service for service in services}
        self._timeout, self._setting = timeout, setting

    @property
    def receivers(self) -> Collection[str]:
        """Scheme and a few digits, such as pagerduty-1f2e3d4c: the same after a restart, whatever the order."""
        return self._services.keys()

    async def send(self, page: Page, receiver: str) -> None:
        """Send it to one of them, beside the event loop. Raises Unavailable when it was not taken in time."""
        kind = NotifyType.SUCCESS if page.recovered else NotifyType.FAILURE
        sending = asyncio.to_thread(
            self._services[receiver].notify, body=page.body, title=page.title, notify_type=kind, overflow="truncate"
        )
        try:
            taken = await asyncio.wait_for(sending, self._timeout)
        except TimeoutError:
            raise Unavailable(
                f"{receiver} did not answer in {self._timeout:g} s: check that it can be reached."
            ) from None
        except Exception as error:  # noqa: BLE001  whatever a plugin of a hundred raises must not stop the others
            raise Unavailable(
                f"{receiver} failed ({type(error).__name__}): check its URL in {self._setting}."
            ) from None
        if not taken:
            raise Unavailable(f"{receiver} refused the page: try its URL in {self._setting} with the program apprise.")


def _service(url: str, number: int, setting: str) -> NotifyBase:
    made = Apprise.instantiate(url, suppress_exceptions=True)
    if not isinstance(made, NotifyBase):
        scheme = url.partition("://")[0] if "://" in url else "no scheme"
        raise InvalidInput(
            f"{setting}: URL number {number} ({scheme}) is none that Apprise understands: see"
            " https://appriseit.com/services for how they are written.",
            field=setting,
        )
    return made


def _name(service: NotifyBase) -> str:
    public: str = service.url(privacy=True)  # type: ignore[no-untyped-call]
    return f"{public.partition('://')[0]}-{hashlib.sha256(public.encode()).hexdigest()[:8]}"

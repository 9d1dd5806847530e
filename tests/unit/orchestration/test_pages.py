"""Pages: written with the failure, sent to real receivers on the loopback, once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from bascule.model.errors import InvalidInput, Unavailable
from bascule.orchestration.apprise_notifier import AppriseNotifier
from bascule.orchestration.claims import Entity
from bascule.orchestration.jobs import Sequence, Step
from bascule.orchestration.pager import Pager
from bascule.orchestration.pages import Page
from bascule.programs.settings import OrchestratorSettings, describe, load
from bascule.store.tables import orchestration
from tests.unit.orchestration.application import Say, Stage, words
from tests.unit.orchestration.receiver import SECRET, Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One receiver."""
    with receiving() as made:
        yield made


@pytest.fixture
def other() -> Iterator[Receiver]:
    """Another one."""
    with receiving() as made:
        yield made


def pager(stage: Stage, *receivers: Receiver, timeout: float = 30.0) -> Pager:
    """A new process's pager, with nothing remembered."""
    return Pager(
        tables=orchestration,
        transaction=stage.database.write,
        notifier=AppriseNotifier([one.url for one in receivers], timeout=timeout),
        clock=stage.clock,
        chance=random.Random(1),
        application="bascule",
    )


async def fail(stage: Stage, times: int) -> None:
    """So many runs that fail, each by a worker that remembers nothing of the one before."""
    stage.talker.job = Sequence("greet", (*words("hello"), Step(Say("world", fails=True)), *words("bye")))
    stage.ask()
    for _ in range(times):
        assert await stage.new_worker(stage.database.write).run_once()
        stage.clock.time += 10.0


async def send_all(pager: Pager) -> int:
    """Send until nothing is due; returns how many pages were looked at."""
    looked = 0
    while await pager.run_once():
        looked += 1
    return looked


async def test_one_page_for_many_failures_and_one_for_recovery(stage: Stage, receiver: Receiver) -> None:
    """Whatever process runs the entity and whichever sends: five failures make one page, with the job tree."""
    await fail(stage, 5)
    assert await send_all(pager(stage, receiver)) == 1
    assert await send_all(pager(stage, receiver)) == 0
    stage.talker.job = Step(Say("fine"))
    assert await stage.new_worker(stage.database.write).run_once()
    assert await send_all(pager(stage, receiver)) == 1
    assert receiver.titles() == [("bascule: thing one", "failure"), ("bascule: thing one", "success")]
    assert receiver.taken[0]["message"].splitlines() == [
        "Failed 3 times in a row, and is tried again. The last error: world does not answer.",
        "",
        "failure   greet: world does not answer.",
        "success     hello",
        "failure     world: world does not answer.",
        "not run     bye",
    ]
    assert receiver.taken[1]["message"] == (
        "Recovered after 5 failures in a row. The last error was: world does not answer."
    )


async def test_after_recovery_it_pages_anew(stage: Stage, receiver: Receiver) -> None:
    """Once means once for each time that it falls ill."""
    for _ in range(2):
        await fail(stage, 3)
        stage.talker.job = Step(Say("fine"))
        assert await stage.worker.run_once()
    await send_all(pager(stage, receiver))
    assert [kind for _, kind in receiver.titles()] == ["failure", "success"] * 2


async def test_too_few_failures_page_nobody(stage: Stage, receiver: Receiver) -> None:
    """What heals by itself wakes nobody, and its recovery neither."""
    await fail(stage, 2)
    stage.talker.job = Step(Say("fine"))
    await stage.worker.run_once()
    assert await send_all(pager(stage, receiver)) == 0


async def test_a_page_that_is_not_taken_is_sent_again(stage: Stage, receiver: Receiver, other: Receiver) -> None:
    """The receiver that refuses gets it later, the one that took it not twice; recovery waits its turn."""
    receiver.status = 500
    await fail(stage, 3)
    stage.talker.job = Step(Say("fine"))
    await stage.worker.run_once()
    assert await send_all(pager(stage, receiver, other)) == 1
    assert (receiver.titles(), len(other.taken)) == ([], 1)
    receiver.status = 200
    stage.clock.time += 60.0
    assert await send_all(pager(stage, other, receiver)) == 2
    assert [kind for _, kind in receiver.titles()] == ["failure", "success"]
    assert [kind for _, kind in other.titles()] == ["failure", "success"]


async def test_a_page_that_a_dead_process_was_sending_is_sent_by_another(stage: Stage, receiver: Receiver) -> None:
    """Killed in the middle of sending: nobody sends it meanwhile, somebody does afterwards."""
    await fail(stage, 3)
    receiver.goes_on.clear()
    dying = asyncio.ensure_future(pager(stage, receiver).run_once())
    await asyncio.sleep(0)
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    assert await send_all(pager(stage, receiver)) == 0
    receiver.goes_on.set()
    stage.clock.time += 301.0
    assert await send_all(pager(stage, receiver)) == 1
    with stage.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(orchestration.pages)).scalar_one() == 0


async def test_a_receiver_that_hangs_does_not_hold_up_a_worker(stage: Stage, receiver: Receiver) -> None:
    """While a page hangs the event loop goes on: another entity is served; then the page is given up for now."""
    await fail(stage, 3)
    receiver.goes_on.clear()
    sending = asyncio.ensure_future(pager(stage, receiver, timeout=1.0).run_once())
    stage.talker.job = Step(Say("meanwhile"))
    assert await stage.worker.run_once()
    assert not sending.done()
    assert stage.talker.said[-1] == "meanwhile"
    assert await sending


PAGE = Page(entity=Entity("thing", "one"), recovered=False, attempts=3, error="no", tree="", created_at=0.0)


async def test_secrets_stay_secret(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a receiver's name, nor an error, nor a log line shows what is in its URL."""
    receiver.status = 403
    notifier = AppriseNotifier([receiver.url])
    (name,) = notifier.receivers
    with pytest.raises(Unavailable) as refused:
        await notifier.send(PAGE, name)
    with pytest.raises(InvalidInput) as wrong:
        AppriseNotifier([receiver.url, f"nosuchservice://user:{SECRET}@host"])
    with pytest.raises(InvalidInput) as no_url:
        AppriseNotifier([SECRET])
    assert "number 2 (nosuchservice)" in wrong.value.sentence
    assert name == next(iter(AppriseNotifier([receiver.url]).receivers)), "the same after a restart"
    told = " ".join([name, caplog.text, *(str(error.value) for error in (refused, wrong, no_url))])
    assert SECRET not in told


def test_settings_keep_them_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs are divided by spaces, commas belong to them, and printing the settings shows none of it."""
    monkeypatch.setenv(
        "BASCULE_PAGE_URLS", f"json://operator:{SECRET}@host  mailto://u:{SECRET}@m.example?to=a@b.c,d@e.f"
    )
    settings = load(OrchestratorSettings)
    assert len(settings.page_urls) == 2
    assert settings.page_urls[1].get_secret_value().endswith("a@b.c,d@e.f")
    assert SECRET not in repr(settings) + str(settings.model_dump()) + describe(OrchestratorSettings)


def test_the_services_the_documentation_names_are_understood() -> None:
    """PagerDuty, mail and chat are receivers, each with a name of its own."""
    notifier = AppriseNotifier(
        [
            "pagerduty://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@BBBBBBBBBBBBBBBBBBBB?action=map",
            "mailto://user:password@mail.example?to=oncall@example.org,second@example.org",
            "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#oncall",
        ]
    )
    assert [name.partition("-")[0] for name in notifier.receivers] == ["pagerduty", "mailto", "slack"]

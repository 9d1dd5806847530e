"""Pages that stay true: the stream of parts."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx

from bascule.client.clients import AdminClient
from bascule.console.application import create_app
from tests.unit.api.installation import ADMIN_TOKEN, Installation, installation, served
from tests.unit.console import scenes

Event = tuple[str, str]


def events(response: httpx.Response) -> Iterator[Event]:
    """Name and data of each event, as a browser reads them."""
    name, data = "", list[str]()
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and name:
            yield name, "\n".join(data)
            name, data = "", []


def taken(stream: Iterator[Event], count: int) -> list[Event]:
    """The next so many events."""
    return [next(stream) for _ in range(count)]


def test_a_step_that_changes_is_told_and_the_end_too(api: Installation, console: httpx.Client) -> None:
    """Every part once at first, then what changed only; after the job's last look the stream ends."""
    job = scenes.begun(api, api.load_balancer(), "web", at=time.time())
    with console.stream("GET", f"/jobs/{job.job_id}/stream") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        told = events(response)
        assert [name for name, _ in taken(told, 3)] == ["notice", "status", "live"]
        job.started((1,), time.time())
        # A branch that begins is no step: the sentence stays.
        assert next(told)[0] == "live"
        job.started((1, 3), time.time())
        (status, said), (live, tree) = taken(told, 2)
        assert (status, said, live) == ("status", "Job running: 0 of 9 steps done, 1 running.", "live")
        assert "record that it is running" in tree
        job.end(time.time(), scenes.SENTENCE)
        assert [name for name, _ in taken(told, 3)] == ["status", "live", "end"]
        assert list(told) == []


def test_the_list_follows_new_jobs(api: Installation, console: httpx.Client) -> None:
    """A job that begins is shown without a reload; of another load balancer only where all are shown."""
    web = api.load_balancer(name="web")
    with (
        console.stream("GET", "/jobs.stream") as every,
        console.stream("GET", "/jobs.stream", params={"entity": web}) as one,
    ):
        of_all, of_web = events(every), events(one)
        taken(of_all, 3)
        taken(of_web, 3)
        scenes.begun(api, str(uuid4()), "other", at=1.0)
        (_, said), (_, table) = taken(of_all, 2)
        assert said == "1 running."
        assert "bring other to generation 7" in table
        scenes.begun(api, web, "web", at=2.0)
        (_, said), (_, table) = taken(of_web, 2)
        assert said == "1 running."
        assert "other" not in table


def test_names_cannot_break_out_of_the_stream(api: Installation, console: httpx.Client) -> None:
    """A carriage return ends a line of the stream (HTML, section 9.2.6): what follows it stays data."""
    scenes.begun(api, str(uuid4()), "x\revent: end\rdata: ", at=1.0)
    with console.stream("GET", "/jobs.stream") as response:
        told = taken(events(response), 3)
    assert [name for name, _ in told] == ["notice", "status", "live"]
    assert "event: end" in told[2][1]


def test_a_job_that_never_was_ends_the_stream(console: httpx.Client) -> None:
    """With the API's sentence."""
    with console.stream("GET", f"/jobs/{uuid4()}/stream") as response:
        (notice, said), end = list(events(response))
    assert (notice, end) == ("notice", ("end", ""))
    assert "There is no job" in said


def test_a_page_says_that_the_api_is_away_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    """The same stream tells both; a page that is opened meanwhile says it too, and follows."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        AdminClient(f"http://127.0.0.1:{port}", ADMIN_TOKEN) as client,
        served(create_app(client)) as url,
        httpx.Client(base_url=url, trust_env=False) as console,
    ):
        page = console.get("/")
        assert page.status_code == 503
        assert "does not answer" in page.text
        assert 'data-stream="/jobs.stream"' in page.text
        with console.stream("GET", "/jobs.stream") as response:
            told = events(response)
            name, said = next(told)
            assert name == "notice"
            assert f"The API at http://127.0.0.1:{port}" in said
            with installation(f"sqlite:///{tmp_path}/bascule.db", port=port):
                assert taken(told, 2) == [("notice", ""), ("status", "None is running.")]
                assert next(told)[0] == "live"
            name, said = next(told)
            assert name == "notice"
            assert "does not answer" in said

"""Pages of the console over a real API."""

from __future__ import annotations

import re
import time
from uuid import uuid4

import httpx
import pytest

from bascule.client.clients import AdminClient
from bascule.clock import SystemClock
from bascule.console.application import create_app
from bascule.console.guard import is_known
from bascule.orchestration.queue import Queue
from bascule.store.tables import orchestration
from tests.unit.api.installation import Installation, served
from tests.unit.console import scenes

EVIL = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


def text_of(page: httpx.Response) -> str:
    """What a reader sees, without tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.text).split())


def test_the_list_tells_state_name_and_reason(api: Installation, console: httpx.Client) -> None:
    """The newest first: a word for the state, the load balancer's name, who asked and why; no name when it is gone."""
    web = api.load_balancer(name="web")
    ended = scenes.begun(api, str(uuid4()), "old", at=100.0)
    scenes.halfway(ended, 100.0)
    scenes.succeeds(ended, 161.0)
    with api.database.write() as connection:
        claim = Queue(orchestration).claim(connection, holder="one", now=SystemClock().now(), lease=60)
    assert claim is not None
    running = scenes.begun(api, web, "web", at=200.0, epoch=claim.epoch)
    page = console.get("/")
    assert page.status_code == 200
    seen = text_of(page)
    assert "1 running." in seen
    new, old = seen.index("◐ running web bring web to generation 7 create-load-balancer (a user)"), seen.index("✓ done")
    assert new < old
    assert "✓ done gone bring old to generation 7 1970-01-01 00:01:40 1 min 01 s" in seen
    assert f'href="/jobs/{running.job_id}"' in page.text
    only = text_of(console.get("/", params={"entity": web}))
    assert f"Only those of load balancer {web}" in only
    assert "old" not in only


def test_an_empty_list_says_what_to_do(console: httpx.Client) -> None:
    """Nobody meets an empty table."""
    assert "No job has run yet. Create a load balancer" in text_of(console.get("/"))


def test_a_failed_job_shows_its_sentence_and_every_state(api: Installation, console: httpx.Client) -> None:
    """The sentence of the step that failed is at the top and at the step; input and output are folded in."""
    web = api.load_balancer(name="web")
    job = scenes.begun(api, web, "web", at=100.0)
    scenes.halfway(job, 100.0)
    scenes.one_fails(job, 107.0)
    half = text_of(console.get(f"/jobs/{job.job_id}"))
    assert "○ rescue withdraw from nodes that failed waiting" in half
    assert "Job running: 4 of 9 steps done, 1 running, 1 failed." in half
    assert "since 1970-01-01 00:01:42" in half
    scenes.fails(job, 110.0)
    page = console.get(f"/jobs/{job.job_id}")
    seen = text_of(page)
    assert page.text.count(scenes.SENTENCE) == 3  # at the top, at the step, and at the rescue, which failed like it
    assert "To the step that failed: announce 192.0.2.0 from lb-2" in seen
    assert '<a id="to-culprit" href="#step-1-2-1-2-2">' in page.text
    assert "⊘ record that it is running skipped" in seen
    assert "prepare hypervisors side by side done 0.31 s" in seen
    assert "✓ finally tell the watch done 0.20 s" in seen
    assert "Output { &#34;observed&#34;: &#34;as it should be&#34; }" in seen
    assert "data-stream" not in page.text  # it has ended: there is nothing to follow


def test_what_users_name_is_text(api: Installation, console: httpx.Client) -> None:
    """A load balancer called <script> is shown as such, in the list, the tree and the fold-outs."""
    evil = api.load_balancer(name=EVIL)
    job = scenes.begun(api, evil, EVIL, at=100.0)
    job.started((1,), 100.0)
    job.failed((1,), 101.0, EVIL)
    for path in ("/", f"/jobs/{job.job_id}"):
        page = console.get(path)
        assert ESCAPED in page.text
        assert "alert(1)" not in page.text.replace(ESCAPED, "")


def test_what_is_not_there_is_a_page(console: httpx.Client) -> None:
    """404, with the way back."""
    for path in ("/jobs/not-an-id", "/nodes", "/static/%2e%2e/application.py", "/?entity=x"):
        page = console.get(path)
        assert page.status_code == 404
        assert "To the list of jobs" in page.text


def test_a_job_that_never_was_is_404_with_the_apis_sentence(console: httpx.Client) -> None:
    """And is not followed."""
    page = console.get(f"/jobs/{uuid4()}")
    assert page.status_code == 404
    assert "There is no job" in page.text
    assert "data-stream" not in page.text


def test_a_wrong_token_is_said_on_the_page(api: Installation) -> None:
    """The API's sentence names the setting."""
    with AdminClient(str(api.operators.base_url), "wrong") as client, served(create_app(client)) as url:
        page = httpx.get(url, trust_env=False)
    assert page.status_code == 503
    assert "BASCULE_ADMIN_TOKEN" in page.text


def test_pages_forbid_what_they_do_not_need(console: httpx.Client) -> None:
    """No inline script or style, no frame, no guessing of types, nothing kept: on pages, files and refusals alike."""
    for path in ("/", "/static/console.js", "/nothing"):
        headers = console.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    page = console.get("/").text
    assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=", page)
    assert not re.search(r"(?:src|href)=\"(?!/|#)", page)


def test_an_unknown_host_is_refused(console: httpx.Client) -> None:
    """A name that somebody points here shows nothing (DNS rebinding), and the sentence says what to do."""
    refused = console.get("/", headers={"Host": "evil.example:8090"})
    assert refused.status_code == 421
    assert "--name" in refused.text
    assert refused.headers["x-frame-options"] == "DENY"
    assert console.get("/", headers={"Host": "console.example.org"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:8090", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("127.0.0.1:8090", True),
        ("[::1]:8090", True),
        ("[::1]", True),
        ("::1", False),
        ("192.0.2.7", True),
        ("", False),
        (":8090", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:8090", False),
        ("evil.example:localhost", False),
        ("localhost:8090:8090", False),
    ],
)
def test_addresses_and_localhost_are_known(host: str, known: bool) -> None:
    """Whatever the port; nothing that only looks like them."""
    assert is_known(host, {"localhost"}) is known


def token_on(page: httpx.Response) -> str:
    """The token in the form that cancels."""
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found is not None
    return found.group(1)


def test_only_our_own_form_cancels_a_job(api: Installation, console: httpx.Client) -> None:
    """Without the token of the page nothing happens; with it the job is asked to end; an ended one stays as it is."""
    web = api.load_balancer(name="web")
    job = scenes.begun(api, web, "web", at=time.time())
    path = f"/jobs/{job.job_id}"
    token = token_on(console.get(path))
    for data in ({}, {"token": "x"}, {"token": token[:-1]}):
        refused = console.post(f"{path}/cancel", data=data)
        assert refused.status_code == 403
        assert "earlier console" in refused.text
    assert api.operators.get(f"/admin/v1{path}").json()["cancel-requested-at"] is None
    assert console.get(f"{path}/cancel").status_code == 405
    answer = console.post(f"{path}/cancel", data={"token": token})
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    page = console.get(path)
    assert "An operator asked that it end" in page.text
    assert "Job being cancelled" in page.text
    job.end(time.time(), "Cancelled by an operator.", cancelled=True)
    assert console.post(f"{path}/cancel", data={"token": token}).status_code == 303
    assert "■ cancelled" in text_of(console.get(path))


def test_the_api_refuses_to_cancel_a_job_that_never_was(api: Installation, console: httpx.Client) -> None:
    """Its sentence is the page."""
    job = scenes.begun(api, api.load_balancer(), "web", at=time.time())
    token = token_on(console.get(f"/jobs/{job.job_id}"))
    page = console.post(f"/jobs/{uuid4()}/cancel", data={"token": token})
    assert page.status_code == 404
    assert "There is no job" in page.text

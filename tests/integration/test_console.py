"""The console as a process, and as a real browser shows it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.browser import Page, browser
from tests.unit.api.installation import ADMIN_TOKEN, Installation, installation
from tests.unit.console import scenes

COMMAND = Path(sys.executable).parent / "bascule"
EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Installation]:
    """A small installation."""
    with installation(f"sqlite:///{tmp_path}/bascule.db") as made:
        yield made


@contextmanager
def console_of(api: Installation, port: int = 0) -> Iterator[str]:
    """Where `bascule console` answers; it must end well at Ctrl-C. Port 0 is one of its own."""
    with socket.create_server(("127.0.0.1", port)) as free:
        port = free.getsockname()[1]
    settings = {"BASCULE_API_URL": str(api.operators.base_url), "BASCULE_ADMIN_TOKEN": ADMIN_TOKEN}
    process = subprocess.Popen(
        [COMMAND, "console", "--listen", f"127.0.0.1:{port}"],
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == f"The console is at http://127.0.0.1:{port}/ (Ctrl-C ends it).\n"
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_the_command_serves_until_ctrl_c_also_while_a_page_is_open(api: Installation) -> None:
    """It says where it is when it is there, and a stream that never ends by itself does not keep it from leaving."""
    job = scenes.begun(api, api.load_balancer(name="web"), "web", at=time.time())
    with httpx.Client(trust_env=False) as client, ExitStack() as stack:
        with console_of(api) as url:
            assert "bring web to generation 7" in client.get(url).text
            taken = subprocess.run(
                [COMMAND, "--admin-token", ADMIN_TOKEN, "console", "--listen", url.removeprefix("http://")],
                capture_output=True,
                text=True,
                check=False,
            )
            assert taken.returncode == 7
            assert "Cannot listen on" in taken.stderr
            response = stack.enter_context(client.stream("GET", f"{url}/jobs/{job.job_id}/stream"))
            lines = response.iter_lines()
            assert next(lines) == "event: notice"
        # To its end, which is not cut off.
        assert any("rules on hv-1" in line for line in lines)


def checked(page: Page, url: str) -> None:
    """Nothing failed, nothing was blocked, and nothing came from elsewhere."""
    assert page.complaints == []
    assert [asked for asked in page.asked if not asked.startswith(url)] == []


@pytest.mark.slow
def test_a_browser_shows_the_tree_grow_and_keeps_what_the_reader_opened(api: Installation, tmp_path: Path) -> None:
    """Step by step without a reload: states, times, the failure's sentence; nothing users name is run."""
    evil = api.load_balancer(name=EVIL)
    now = time.time()
    job = scenes.begun(api, evil, EVIL, at=now)
    step = "document.getElementById('step-1-2-1-2-2')"
    with console_of(api) as url, browser(tmp_path / "browser") as page:
        page.look(width=400)
        page.open(f"{url}/")
        assert page.ask("document.querySelector('.name a').textContent") == EVIL
        assert page.ask("document.documentElement.scrollWidth") <= 400
        page.open(f"{url}/jobs/{job.job_id}")
        page.wait("!document.getElementById('live-mark').hidden")
        assert page.ask("document.querySelector('h1').textContent") == f"bring {EVIL} to generation 7"
        page.ask("document.getElementById('fold-1-2-1-2-2').open = true")
        page.ask("document.getElementById('fold-1-1').open = false")
        page.ask("document.getElementById('line-1-2-1-2-2').focus()")
        scenes.halfway(job, now)
        page.wait(
            f"{step}.classList.contains('running') && /^[0-9]+ s$/.test({step}.querySelector('time').textContent)"
        )
        scenes.one_fails(job, time.time())
        page.wait("document.getElementById('status').textContent.includes('1 failed')")
        page.wait(f"{step}.querySelector('.error')")
        assert page.ask(f"{step}.querySelector('.error').textContent") == scenes.SENTENCE
        assert page.ask("document.getElementById('fold-1-2-1-2-2').open") is True
        assert page.ask("document.getElementById('fold-1-1').open") is False
        assert page.ask("document.activeElement.id") == "line-1-2-1-2-2"
        assert page.ask("document.documentElement.scrollWidth") <= 400
        scenes.fails(job, time.time())
        page.wait("document.title.startsWith('✕') && document.getElementById('live-mark').hidden")
        assert page.ask("document.querySelectorAll('.step.skipped').length") == 1
        checked(page, url)


@pytest.mark.slow
def test_a_browser_cancels_a_job_and_outlives_the_console(api: Installation, tmp_path: Path) -> None:
    """The form works under the page's own policy; a page says that its console is gone, and goes on with the next."""
    job = scenes.begun(api, api.load_balancer(name="web"), "web", at=time.time())
    with browser(tmp_path / "browser") as page:
        with console_of(api) as url:
            page.look(width=1100, dark=True)
            page.open(f"{url}/jobs/{job.job_id}")
            assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 29)"
            page.ask("document.getElementById('cancel').open = true")
            page.ask("document.getElementById('cancel-button').click()")
            page.wait("document.querySelector('.asked') && !document.getElementById('live-mark').hidden")
            checked(page, url)
        page.wait("document.getElementById('notice').textContent.startsWith('The console does not answer')")
        assert page.ask("document.querySelector('h1').textContent") == "bring web to generation 7"
        assert page.ask("document.getElementById('live-mark').hidden") is True
        job.end(time.time(), "Cancelled by an operator.", cancelled=True)
        with console_of(api, int(url.rpartition(":")[2])):
            page.wait("document.title.startsWith('■')")
            assert page.ask("document.getElementById('notice').textContent") == ""
    assert api.operators.get(f"/admin/v1/jobs/{job.job_id}").json()["cancel-requested-at"] is not None

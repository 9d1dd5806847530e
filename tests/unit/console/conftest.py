"""A console in front of a small installation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bascule.client.clients import AdminClient
from bascule.console.application import create_app
from tests.unit.api.installation import ADMIN_TOKEN, Installation, installation, served


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Installation]:
    """A small installation."""
    with installation(f"sqlite:///{tmp_path}/bascule.db") as made:
        yield made


@pytest.fixture
def console_url(api: Installation) -> Iterator[str]:
    """Where a console of it answers."""
    with (
        AdminClient(str(api.operators.base_url), ADMIN_TOKEN) as client,
        served(create_app(client, names=("console.example.org",))) as url,
    ):
        yield url


@pytest.fixture
def console(console_url: str) -> Iterator[httpx.Client]:
    """A browser without scripts."""
    with httpx.Client(base_url=console_url, trust_env=False) as client:
        yield client

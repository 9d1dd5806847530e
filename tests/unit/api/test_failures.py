"""When something behind the API fails, the answer is still a problem, and tells nothing it should not."""

from __future__ import annotations

import re

from sqlalchemy import text

from tests.unit.api.installation import Installation


def test_a_database_that_fails_is_503(api: Installation) -> None:
    """Clients are told to come back, and nobody is let in meanwhile."""
    with api.database.write() as connection:
        connection.execute(text("DROP TABLE api_keys"))
    response = api.users.get("/v2/load-balancer")
    assert (response.status_code, response.headers["retry-after"], response.json()["code"]) == (503, "5", "unavailable")


def test_what_nobody_foresaw_is_500_without_a_trace(api: Installation) -> None:
    """A row that no code of ours writes makes the API fail; the answer does not say how."""
    load_balancer = api.load_balancer()
    with api.database.write() as connection:
        connection.execute(text("UPDATE load_balancers SET state = 'dreaming'"))
    response = api.users.get(f"/v2/load-balancer/{load_balancer}")
    assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
    assert "dreaming" not in response.text
    assert "Traceback" not in response.text


def test_the_documentation_needs_no_other_machine(api: Installation) -> None:
    """The page at /docs and all it loads come from the API itself."""
    page = api.strangers.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    assert all(path.startswith("/") for path in loaded)
    assert all(api.strangers.get(path).status_code == 200 for path in loaded)

"""Who may ask: signatures for users, the token for operators, nobody for anything else."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bascule.api.gate import BODY_MAX
from bascule.wire.signatures import Credential, header, sign
from tests.unit.api.installation import ADMIN_TOKEN, Installation

PATH = "/v2/load-balancer"


def signed(api: Installation, **other: Any) -> dict[str, str]:
    """A good Authorization header for GET /v2/load-balancer, but for what is said otherwise."""
    parts: dict[str, Any] = {
        "method": "GET",
        "path": PATH,
        "body": b"",
        "query": "",
        "expires": int(time.time()) + other.pop("ahead", 60),
    }
    secret, key = other.pop("secret", api.secret), other.pop("key", api.key)
    names = other.pop("signed_query_args", ())
    parts.update(other)
    signature = sign(secret, **parts)
    return {
        "Authorization": header(
            Credential(key=key, signature=signature, expires=parts["expires"], signed_query_args=names)
        )
    }


def test_a_good_signature_opens_the_gate(api_at_rest: Installation) -> None:
    """The reference for the refusals below."""
    assert api_at_rest.strangers.get(PATH, headers=signed(api_at_rest)).status_code == 200


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"method": "POST"}, "does not match"),
        ({"path": "/v2/elastic-ip"}, "does not match"),
        ({"body": b"{}"}, "does not match"),
        ({"secret": "another"}, "does not match"),
        ({"key": "EXOunknown"}, "unknown"),
        ({"expires": 1}, "expired"),
        ({"ahead": 7200}, "earlier"),
        ({"expires": 10**30}, "no time"),
    ],
    ids=str,
)
def test_a_wrong_signature_is_refused(api_at_rest: Installation, other: dict[str, Any], words: str) -> None:
    """Every part of the request is covered, and the sentence says what to correct."""
    response = api_at_rest.strangers.get(PATH, headers=signed(api_at_rest, **other))
    assert response.status_code == 403
    assert words in response.json()["detail"]


@pytest.mark.parametrize(
    "text", ["", "Bearer x", "EXO2-HMAC-SHA256", "EXO2-HMAC-SHA256 credential=a,expires=x,signature=b"]
)
def test_a_header_that_is_none_of_ours_is_refused(api_at_rest: Installation, text: str) -> None:
    """A missing or malformed header is 403, never 500."""
    assert api_at_rest.strangers.get(PATH, headers={"Authorization": text}).status_code == 403


def test_a_query_argument_must_be_signed(api_at_rest: Installation) -> None:
    """Somebody on the way cannot add an argument."""
    assert api_at_rest.strangers.get(f"{PATH}?a=1", headers=signed(api_at_rest)).status_code == 403
    whole = signed(api_at_rest, query="a=1", signed_query_args=("a",))
    assert api_at_rest.strangers.get(f"{PATH}?a=1", headers=whole).status_code == 200
    assert api_at_rest.strangers.get(f"{PATH}?a=2", headers=whole).status_code == 403


def test_a_deleted_key_opens_nothing(api: Installation) -> None:
    """Deleting an API key takes effect at once."""
    assert api.operators.delete(f"/admin/v1/api-keys/{api.key}").status_code == 204
    assert api.users.get(PATH).status_code == 403


@pytest.mark.parametrize("text", ["", "Bearer", "Bearer wrong", f"Basic {ADMIN_TOKEN}", f"Bearer {ADMIN_TOKEN}x"])
def test_operators_need_the_token(api_at_rest: Installation, text: str) -> None:
    """Without exactly the token every path of the operators' API is 403, those that do not exist too."""
    for path in ("/admin/v1/queue", "/admin/v1/nothing", "/admin"):
        assert api_at_rest.strangers.get(path, headers={"Authorization": text}).status_code == 403


def test_nobody_is_asked_for_the_zone_and_the_health(api_at_rest: Installation) -> None:
    """What is open is open."""
    assert api_at_rest.strangers.get("/v2/zone").json()["zones"][0]["name"] == "test-1"
    assert api_at_rest.strangers.get("/v1/health").json() == {"status": "ok"}
    assert "paths" in api_at_rest.strangers.get("/openapi.json").json()


def test_a_stranger_cannot_make_the_api_keep_a_large_body(api_at_rest: Installation) -> None:
    """The limit holds before anybody is known."""
    assert api_at_rest.strangers.post(PATH, content=b"x" * (BODY_MAX + 1)).status_code == 413


def test_secrets_never_come_out(api_at_rest: Installation) -> None:
    """No answer shows an agent's token or an old key's secret."""
    for path in ("lb-nodes", "hypervisors", "api-keys"):
        text = api_at_rest.operators.get(f"/admin/v1/{path}").text
        assert "a-token-of-an-agent" not in text
        assert api_at_rest.secret not in text


def test_unknown_paths_and_methods_are_problems_too(api_at_rest: Installation) -> None:
    """404 and 405 look like every other error."""
    for response, status in (
        (api_at_rest.strangers.get("/x"), 404),
        (api_at_rest.operators.patch("/admin/v1/queue"), 405),
    ):
        assert response.status_code == status == response.json()["status"]
        assert response.headers["content-type"] == "application/problem+json"

"""The signature of the public API, against the reference client's own signing."""

from __future__ import annotations

import pytest
import requests
from exoscale_auth import ExoscaleV2Auth

from bascule.model.errors import Forbidden
from bascule.wire.signatures import Credential, header, parse_header, sign


@pytest.mark.parametrize(
    "url", ["http://a/v2/zone", "http://a/v2/x?b=2&a=1", "http://a/v2/x?a=1&a=2&c=", "http://a/v2/%C3%A9"]
)
@pytest.mark.parametrize("body", [None, {"name": "é"}])
def test_we_sign_as_the_reference_does(url: str, body: dict[str, str] | None) -> None:
    """Over paths, queries and bodies, both arrive at the same header."""
    request = requests.Request("POST", url, json=body, auth=ExoscaleV2Auth("EXOkey", "secret")).prepare()
    theirs = parse_header(str(request.headers["Authorization"]))
    path, _, query = request.path_url.partition("?")
    content = request.body or b""
    assert isinstance(content, bytes)
    ours = sign("secret", method="POST", path=path, body=content, query=query, expires=theirs.expires)
    assert ours == theirs.signature
    assert header(theirs) == request.headers["Authorization"]


def test_a_header_survives_the_journey() -> None:
    """What is written is what is read."""
    credential = Credential(key="EXOa", signature="c2ln+/=", expires=12, signed_query_args=("a", "b"))
    assert parse_header(header(credential)) == credential


@pytest.mark.parametrize("text", ["", "EXO2-HMAC-SHA256 credential=,expires=1,signature=a", "EXO2-HMAC-SHA256 ,,,="])
def test_what_is_no_header_of_ours_is_refused(text: str) -> None:
    """Nothing else than Forbidden comes out of the parser."""
    with pytest.raises(Forbidden):
        parse_header(text)

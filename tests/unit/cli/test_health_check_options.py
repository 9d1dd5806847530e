"""Options of health checks on the command line."""

from __future__ import annotations

import pytest
import typer

from bascule.cli.health_check_options import check_options_of


def test_options_take_the_types_of_the_api() -> None:
    """Numbers and switches become what JSON has for them; a value may hold an equals sign."""
    given = ["quorum=3", "tls-verify=true", "body-pattern=a=b", "sorry-server=10.0.0.9", "on-failure=inhibit"]
    assert check_options_of(given) == {
        "quorum": 3,
        "tls-verify": True,
        "body-pattern": "a=b",
        "sorry-server": "10.0.0.9",
        "on-failure": "inhibit",
    }
    assert check_options_of(None) == {}


@pytest.mark.parametrize("text", ["quorum", "quorum=many", "colour=red", "=1", "on-failure=drop", "sorry-server=x"])
def test_a_wrong_option_is_named(text: str) -> None:
    """The sentence holds what was typed or the option's name."""
    with pytest.raises(typer.BadParameter, match=text.split("=", maxsplit=1)[0] or "'=1'"):
        check_options_of([text])

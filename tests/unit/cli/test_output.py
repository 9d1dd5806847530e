"""How the command line reads and prints."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
import typer

from bascule.cli.output import Output, show_list, show_one
from bascule.cli.parsers import address_of, labels_of, network_of
from bascule.cli.session import pick
from bascule.model.errors import Conflict, NotFound
from bascule.wire.admin_v1 import HypervisorView


def hypervisor(name: str) -> HypervisorView:
    """Something with a name and an identifier."""
    return HypervisorView(id=uuid4(), name=name, agent_url="http://192.0.2.1")


def test_json_is_what_the_api_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Names in kebab-case, nothing else on standard output."""
    show_one(Output.JSON, item := hypervisor("hv-1"))
    assert json.loads(capsys.readouterr().out) == {"id": str(item.id), "name": "hv-1", "agent-url": "http://192.0.2.1"}


def test_markup_in_a_name_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """What users named "[red]" does not colour the terminal."""
    show_list(Output.TABLE, [hypervisor("[red]x[/red]")], {"NAME": "name"}, empty="none")
    assert "[red]x[/red]" in capsys.readouterr().out


def test_an_empty_list_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """The hint goes to standard error: programs that read the output see nothing."""
    show_list(Output.TABLE, [], {"NAME": "name"}, empty="Register one.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err.strip()) == ("", "Register one.")


def test_a_name_must_mean_one_thing() -> None:
    """Names and identifiers are found; an unknown one and an ambiguous one are refused."""
    one, other = hypervisor("a"), hypervisor("b")
    assert pick([one, other], "b", "hypervisor") is other
    assert pick([one, other], str(one.id), "hypervisor") is one
    with pytest.raises(NotFound):
        pick([one], "b", "hypervisor")
    with pytest.raises(Conflict):
        pick([one, hypervisor("a")], "a", "hypervisor")


def test_malformed_options_are_refused() -> None:
    """Each says how to write it."""
    for parse, text in ((address_of, "1.2.3"), (network_of, "1.2.3.4/8")):
        with pytest.raises(typer.BadParameter, match="write it as"):
            parse(text)
    with pytest.raises(typer.BadParameter, match="KEY=VALUE"):
        labels_of(["team"])
    assert labels_of(["a=b=c"]) == {"a": "b=c"}

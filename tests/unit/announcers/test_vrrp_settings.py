"""How settings become an announcer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bascule.announcers.vrrp.driver import VrrpAnnouncer, require_script
from bascule.model.errors import InvalidInput, SystemFailure
from bascule.programs.lb_agent import ANNOUNCERS
from bascule.programs.settings import LBAgentSettings


def settings(monkeypatch: pytest.MonkeyPatch, **changes: str) -> LBAgentSettings:
    usual = {"NODE_NAME": "lb1", "AGENT_TOKEN": "a-token-of-a-test", "ANNOUNCER": "vrrp"}
    for name, value in {**usual, "VRRP_NODES": "192.0.2.1 192.0.2.2,2001:db8::1", **changes}.items():
        monkeypatch.setenv(f"BASCULE_{name}", value)
    return LBAgentSettings()


def test_the_settings_name_the_announcer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes are enough; the rest has a value that serves."""
    found = settings(monkeypatch)
    assert isinstance(ANNOUNCERS[found.announcer](found), VrrpAnnouncer)


@pytest.mark.parametrize(
    "wrong",
    [{"VRRP_NODES": ""}, {"VRRP_IDS": "300-400"}, {"VRRP_NOTIFY": "x y"}, {"DATAPLANE": "keepalived"}],
    ids=str,
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]) -> None:
    """What cannot work stops the agent at once, with the variable in the sentence."""
    found = settings(monkeypatch, **wrong)
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        ANNOUNCERS[found.announcer](found)


def test_a_script_that_others_may_change_is_refused(tmp_path: Path) -> None:
    """keepalived runs it as root: it must be root's alone, there, and a program."""
    script = tmp_path / "tell"
    with pytest.raises(SystemFailure, match="BASCULE_VRRP_NOTIFY"):
        require_script(script)
    script.write_text("#!/bin/sh\n")
    for mode in (0o644, 0o775, 0o757):
        script.chmod(mode)
        with pytest.raises(SystemFailure, match="nobody else's to write"):
            require_script(script)

"""What an operator sets about BGP, from the environment to the announcer, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.announcers.bgp.driver import BgpAnnouncer
from bascule.model.errors import InvalidInput
from bascule.programs.lb_agent import ANNOUNCERS
from bascule.programs.settings import LBAgentSettings, describe, load

GOOD = {
    "BASCULE_NODE_NAME": "lb1",
    "BASCULE_AGENT_TOKEN": "0123456789abcdef",
    "BASCULE_BGP_NEIGHBORS": "192.0.2.1/65000 2001:db8::1/65000",
}


def _announcer(monkeypatch: pytest.MonkeyPatch, run_dir: Path, **more: str) -> BgpAnnouncer:
    environment = GOOD | {"BASCULE_RUN_DIR": str(run_dir)} | {f"BASCULE_{name}": value for name, value in more.items()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = ANNOUNCERS["bgp"](load(LBAgentSettings))
    assert isinstance(found, BgpAnnouncer)
    return found


def test_all_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Password, preference, TTL security, grace and BFD arrive where BIRD's configuration is made."""
    (tmp_path / "password").write_text("secret word\n")
    found = _announcer(
        monkeypatch,
        Path("/run/bascule-settings"),
        BGP_PASSWORD_FILE=str(tmp_path / "password"),
        BGP_TTL_SECURITY="yes",
        BGP_PREPEND="2",
        BGP_GRACE="1.5",
        BFD_INTERVAL_MS="50",
        BFD_MULTIPLIER="4",
    )
    assert found.grace == 1.5
    for line in (
        'password "secret word";',
        "ttl security on;",
        "bgp_path.prepend(65001);\n  bgp_path.prepend(65001);\n  accept;",
        "min tx interval 50 ms;",
        "multiplier 4;",
    ):
        assert line in found._text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BGP_LOCAL_AS", "0"),
        ("BGP_LOCAL_AS", "65000"),
        ("BGP_NEIGHBORS", "192.0.2.1"),
        ("BGP_NEIGHBORS", "fe80::1/65000"),
        ("BGP_PREPEND", "11"),
        ("BGP_PREPEND", "-1"),
        ("BGP_GRACE", "60"),
        ("BGP_TTL_SECURITY", "maybe"),
        ("BFD_INTERVAL_MS", "5"),
        ("BFD_INTERVAL_MS", "60001"),
        ("BFD_MULTIPLIER", "256"),
        ("BGP_PASSWORD_FILE", "/does/not/exist"),
    ],
)
def test_a_bad_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Whatever is wrong, the sentence begins with the variable to change."""
    wrong = "BGP_NEIGHBORS" if (name, value) == ("BGP_LOCAL_AS", "65000") else name
    with pytest.raises(InvalidInput, match=f"^BASCULE_{wrong}: "):
        _announcer(monkeypatch, Path("/run/bascule-settings"), **{name: value})


@pytest.mark.parametrize("content", ["", "\nsecond line", 'se"cret', "se\x07cret", "s" * 81])
def test_a_password_that_cannot_be_written_is_not_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    """An empty, quoted, too long or unprintable password is refused by the setting's name, without a word of it."""
    file = tmp_path / "password"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=r"^BASCULE_BGP_PASSWORD_FILE: ") as refused:
        _announcer(monkeypatch, Path("/run/bascule-settings"), BGP_PASSWORD_FILE=str(file))
    assert content == "" or content.strip() not in refused.value.sentence


def test_every_setting_is_explained() -> None:
    """`--help` names the settings of BGP."""
    text = describe(LBAgentSettings)
    for name in ("BGP_PASSWORD_FILE", "BGP_TTL_SECURITY", "BGP_PREPEND", "BGP_GRACE", "START_HOLD"):
        assert f"BASCULE_{name} " in text

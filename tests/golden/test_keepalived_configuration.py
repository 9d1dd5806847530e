"""keepalived's configuration: what it looks like, that the real one accepts it, and that no user's text bends it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.dataplanes.keepalived.checks import check
from bascule.dataplanes.keepalived.patterns import pcre
from bascule.dataplanes.keepalived.quoting import escaped, line, plain
from bascule.dataplanes.keepalived.render import render
from bascule.model.errors import SystemFailure
from bascule.model.health_check_rules import problem_of
from bascule.model.health_checks import HealthCheck, HealthCheckMode, OnFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import Persistence, ServiceKey, VirtualBackend, VirtualService

GOLDEN = Path(__file__).parent / "keepalived" / "two_services.conf"
SCRIPTS = Path("/usr/bin")  # its programs are root's: keepalived takes them for scripts
MODE = HealthCheckMode
TCP = HealthCheck(mode=MODE.TCP, port=9000)
PAGE = HealthCheck(mode=MODE.HTTP, port=9000, uri="/status?of=$me&all!#top")
SORRY = ip_address("10.128.0.9")
needs_keepalived = pytest.mark.skipif(not shutil.which("keepalived"), reason="needs keepalived: install it")


def backend(last: int, weight: int = 1) -> VirtualBackend:
    """The instance 10.128.0.`last`."""
    return VirtualBackend(address=ip_address(f"10.128.0.{last}"), weight=weight, target_port=9000)


SERVICE = VirtualService(
    key=ServiceKey(ip_address("203.0.113.10"), Protocol.TCP, 80),
    strategy=Strategy.MAGLEV_HASH,
    hash_source_port=True,
    hash_seed=1,
    backends=(backend(2, 3), backend(1)),
    health_check=TCP,
)
NAMES = replace(
    SERVICE,
    key=ServiceKey(ip_address("203.0.113.10"), Protocol.UDP, 53),
    strategy=Strategy.ROUND_ROBIN,
    persistence=Persistence(timeout=300, prefix_length=24),
    health_check=replace(
        PAGE, quorum=2, hysteresis=1, sorry_server=SORRY, on_failure=OnFailure.INHIBIT, body_pattern=r"ok: \d+"
    ),
)
SERVICE_V6 = replace(
    SERVICE,
    key=ServiceKey(ip_address("2001:db8:203::10"), Protocol.TCP, 80),
    persistence=Persistence(timeout=300, prefix_length=64),
    backends=(VirtualBackend(address=ip_address("fd00:128::1"), weight=1, target_port=9000),),
    health_check=replace(TCP, quorum=2, sorry_server=ip_address("fd00:128::9")),
)
CHECKS = (
    TCP,
    PAGE,
    replace(TCP, retries=0, retry_interval=3, warm_up=30, interval=5, timeout=4),
    replace(PAGE, status_codes="200-299,404", host="www.example.net", body_digest="0" * 32),
    HealthCheck(mode=MODE.HTTPS, port=443, uri="/", tls_sni="www.example.net", body_pattern="a.*b[^\\]x-z]{1,3}"),
    HealthCheck(mode=MODE.SMTP, port=25, smtp_helo="lb.example.net"),
    HealthCheck(mode=MODE.DNS, port=53, dns_name="www.example.net.", dns_type="aaaa"),
    HealthCheck(mode=MODE.UDP, port=53),
    HealthCheck(mode=MODE.UDP, port=53, udp_payload="00ff00", udp_reply=""),
    HealthCheck(mode=MODE.UDP, port=53, udp_payload="00ff00", udp_reply="0A0b"),
    HealthCheck(mode=MODE.PING, port=1),
    HealthCheck(mode=MODE.SCRIPT, port=80, script="true", script_weight=True),
    replace(TCP, quorum=5, hysteresis=2, sorry_server=SORRY),
    replace(TCP, sorry_server=SORRY, on_failure=OnFailure.INHIBIT),
)


def words_of_keepalived(tmp_path: Path, text: str) -> tuple[int, str]:
    """What `keepalived -t` says of a configuration, and its exit status."""
    file = tmp_path / "keepalived.conf"
    file.write_text(text)
    done = subprocess.run(
        ["keepalived", "--config-test", "--use-file", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr + done.stdout


def test_two_services() -> None:
    """The configuration for two services of one address is the golden file, letter by letter."""
    assert render("bascule-lb1-203.0.113.10", [NAMES, SERVICE], SCRIPTS).text == GOLDEN.read_text()


@needs_keepalived
@pytest.mark.parametrize(
    "service",
    [
        SERVICE,
        NAMES,
        replace(SERVICE, backends=(backend(1, 0),), health_check=None),
        replace(SERVICE, backends=(backend(1, 0), backend(2)), health_check=replace(TCP, sorry_server=SORRY)),
        *(replace(SERVICE, strategy=each, hash_source_port=flag) for each in Strategy for flag in (True, False)),
        *(replace(SERVICE, health_check=each) for each in CHECKS),
        replace(SERVICE, persistence=Persistence(timeout=60)),
        SERVICE_V6,
    ],
    ids=lambda each: f"{each.strategy}-{each.health_check and each.health_check.mode}",
)
def test_the_real_keepalived_accepts_it(tmp_path: Path, service: VirtualService) -> None:
    """`keepalived -t` parses each scheduler, method, check, persistence and family without a word."""
    text = render("bascule-lb1-203.0.113.10", [service], SCRIPTS).text
    assert words_of_keepalived(tmp_path, text) == (0, "")


def test_families_are_not_mixed() -> None:
    """An instance of another family than the address is refused: the namespace has no way to it."""
    with pytest.raises(SystemFailure, match=r"10\.128\.0\.1 cannot be behind"):
        render("bascule-lb1-203.0.113.10", [replace(SERVICE_V6, backends=(backend(1),))], SCRIPTS)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (replace(TCP, rise=2), "healthcheck.rise"),
        (replace(PAGE, body_digest="0" * 64), "SHA-256"),
        (replace(PAGE, body_pattern="a|b"), "alternatives"),
        (replace(PAGE, body_pattern="(ab)*"), "without groups"),
        (replace(PAGE, body_pattern="^ok$"), "anchors"),
        (replace(PAGE, body_pattern="grün"), "ASCII"),
        (replace(PAGE, uri="/\\"), "backslashes"),
        (replace(PAGE, uri="/$_PWD"), "'\\$_'"),
        (replace(PAGE, mode=MODE.HTTPS, tls_verify=True), "tls-verify"),
        (replace(PAGE, mode=MODE.HTTPS, tls_sni="a.example", host="b.example"), "healthcheck.host"),
        (HealthCheck(mode=MODE.DNS, port=53, dns_answer=True), "dns-answer"),
        (HealthCheck(mode=MODE.DNS, port=53, dns_type="SRV"), "type SRV"),
        (HealthCheck(mode=MODE.DNS, port=53, dns_name='a\\"b.example'), "DNS name"),
        (HealthCheck(mode=MODE.UDP, port=53, udp_payload="00" * 512), "at most 1000 bytes"),
        (HealthCheck(mode=MODE.UDP, port=53, udp_payload="00fF"), "last octet is ff"),
    ],
)
def test_what_keepalived_cannot_check_is_refused(wanted: HealthCheck, words: str) -> None:
    """A check of the model that would mean something else, or less, is refused by a sentence that says what to do."""
    assert problem_of(wanted) is None
    with pytest.raises(SystemFailure, match=words):
        check(wanted, SCRIPTS)(SORRY)


@pytest.mark.parametrize("pattern", ["ok", r"ok: \d+", "a.*b", r"[a-z\]]{2,}!", "a b", r"\[x\] \{\$\}", r"[^-\w]x?"])
def test_patterns_keep_their_meaning(pattern: str) -> None:
    """What is taken matches the same texts; only how much of them differs."""
    for text in ("ok", "ok: 1", "a--b", "x]z!", "a b", "[x] {$}", " x", "", "ab\n"):
        assert bool(re.search(pcre(pattern), text)) == bool(re.search(pattern, text))


GLOBAL = "global_defs {\nscript_user root\nenable_script_security\n}\n"
# Everything that a configuration could mean something by, more often than chance would have it.
NASTY = st.text(
    st.one_of(st.sampled_from("\"'\\{}!#$@~ \t\n\r%;()[]^_"), st.characters(codec="utf-8", exclude_characters="\0")),
    min_size=1,
    max_size=60,
) | st.sampled_from(
    ["$_PWD", "${_HASH}", "$_BANG ", "~SEQ(A,1,9) x", "@^host x", "include /etc/passwd", "!", "\\", '"', "}", "a\\x41b"]
)


@needs_keepalived
@settings(max_examples=20, deadline=None)
@given(texts=st.lists(NASTY, min_size=60, max_size=60))
def test_words_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """Whatever word is not refused, keepalived's own parser reads exactly that word, and nothing else changes.

    Its complaints are the mirror: of a digest it repeats the plain word that it read. The last complaint shows that it
    was in the same place of the file to the end. (Escaped words: tests/ipvs, where one runs.)
    """
    taken = [text for text in texts if _is_taken(text)]
    lines, said = [], []
    for text in taken:
        # A digest has 32 characters: one that cannot have them is repeated with its length.
        word = plain(text)
        lines += ["HTTP_GET {", "url {", f"path {word}", f"virtualhost {word}", line("digest", plain(text + "x" * 33))]
        lines += ["}", "}", "MISC_CHECK {", line("misc_path", escaped("/usr/bin/true"), escaped(text)), "}"]
        said.append(f"digest '{text}{'x' * 33}' character length should be 32 rather than {len(text) + 33}")
    file = (
        "virtual_server 203.0.113.10 80 {\nprotocol TCP\nlvs_sched rr\nlvs_method TUN\nreal_server 10.0.0.1 80 {\n"
        + "\n".join(lines)
    )
    status, words = words_of_keepalived(
        tmp_path_factory.mktemp("t"), GLOBAL + file + '\nHTTP_GET {\nurl {\npath "/"\ndigest "end"\n}\n}\n}\n}\n'
    )
    heard = [each.split(") ", 1)[1] for each in words.splitlines()]
    assert status != 0
    assert heard == [*said, "digest 'end' character length should be 32 rather than 3"]


def _is_taken(text: str) -> bool:
    try:
        plain(text)
    except SystemFailure:
        return False
    return True

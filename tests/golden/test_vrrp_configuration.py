"""keepalived's configuration for VRRP: what it looks like, that the real keepalived accepts it, what is refused."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from bascule.announcers.vrrp.plan import plan
from bascule.announcers.vrrp.render import VrrpOptions, addresses_in, ids_of, render
from bascule.model.errors import InvalidInput
from bascule.system.commands import run
from tests.namespaces import Hosts
from tests.vrrp_segment import missing

FOLDER = Path(__file__).parent / "keepalived"
SCRIPT = Path("/run/bascule/lb1/vrrp/agent-is-here")
NODES = tuple(map(ip_address, ("192.0.2.10", "192.0.2.11", "2001:db8::10", "2001:db8::11")))
OWN = {4: NODES[0], 6: NODES[2]}
PLAIN = VrrpOptions(interface="eth0", nodes=NODES)
FULL = replace(
    PLAIN,
    ids=(10, 73),
    advert_ms=250,
    preempt_delay=5,
    hops=2,
    gateways=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
    notify=Path("/bin/true"),
    mail_to=("noc@example.net",),
    mail_from="lb1@example.net",
    mail_server="mail.example.net:25",
)
VIPS = frozenset(map(ip_address, ("203.0.113.17", "203.0.113.18", "2001:db8:203::11")))


def text(options: VrrpOptions, script: Path = SCRIPT) -> str:
    return render(options, plan(options, OWN, VIPS).instances, script)


@pytest.mark.parametrize(("name", "options"), [("vrrp_plain", PLAIN), ("vrrp_full", FULL)])
def test_the_configuration_is_known(name: str, options: VrrpOptions) -> None:
    """The configuration with the settings we ship, and with all there are, is the golden file, by letter."""
    assert text(options) == (FOLDER / f"{name}.conf").read_text()


@pytest.mark.root
@pytest.mark.parametrize(
    "options", [PLAIN, FULL, replace(PLAIN, preempt=False)], ids=["plain", "full", "no preemption"]
)
def test_the_real_keepalived_accepts_it(tmp_path: Path, options: VrrpOptions) -> None:
    """`keepalived --config-test` finds no fault, on a host that has the interface."""
    if reason := missing():
        pytest.skip(reason)
    file = tmp_path / "keepalived.conf"
    file.write_text(text(replace(options, mail_server="127.0.0.1:25"), Path("/bin/true")))
    with Hosts("node") as hosts:
        hosts.ip("node", "link add eth0 type veth peer name eth1")
        hosts.inside("node", lambda: run(["keepalived", "--config-test", "--use-file", str(file)]))


def test_the_addresses_are_read_back() -> None:
    """Whoever finds a configuration of ours knows which addresses it may have left on the interface."""
    assert set(map(ip_address, addresses_in(text(FULL)))) == VIPS
    assert addresses_in("") == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"interface": "eth0 }\nvrrp_instance x {"},
        {"interface": ""},
        {"nodes": ()},
        {"nodes": NODES[:1] * 2},
        {"nodes": (ip_address("fe80::1"),)},
        {"ids": (0, 5)},
        {"ids": (9, 5)},
        {"advert_ms": 5},
        {"advert_ms": 255},
        {"hops": 0},
        {"gateways": (NODES[0], NODES[1])},
        {"table": 254},
        {"notify": Path("relative")},
        {"notify": Path('/bin/x" root\n}')},
        {"mail_to": ("a@b }",)},
        {"mail_from": "nobody"},
        {"mail_server": "a b"},
        {"repeats": 0},
        {"refresh": -1},
        {"rule_priority": 0},
        {"preempt_delay": 1001},
    ],
    ids=str,
)
def test_what_could_mean_something_else_is_refused(wrong: dict[str, Any]) -> None:
    """A value that is out of range, or whose text keepalived could read as more than a word, names its setting."""
    with pytest.raises(InvalidInput, match=r"^BASCULE_VRRP_[A-Z_]+ "):
        replace(PLAIN, **wrong)


@pytest.mark.parametrize("words", ["", "1", "1-2-3", "a-b", "1 - 2"])
def test_what_is_no_range_is_refused(words: str) -> None:
    """Router ids are written as the first and the last."""
    with pytest.raises(InvalidInput, match="is no range of router ids"):
        ids_of(words)


def test_a_path_that_needs_quoting_is_refused() -> None:
    """The script's path comes from a setting too."""
    with pytest.raises(InvalidInput, match="cannot be written into keepalived's configuration"):
        text(PLAIN, Path('/run/a"b'))

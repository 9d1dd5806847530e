"""The doctor reads real network namespaces, and its fixes mend what it finds."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer
from typer.testing import CliRunner

from bascule.doctor.command import doctor
from bascule.doctor.facts import Choice, Facts, Role
from bascule.doctor.findings import Finding, Level
from bascule.doctor.gather_network import gather_network
from bascule.doctor.paths import check_paths
from bascule.lab import life
from bascule.lab.examination import examine
from bascule.lab.network import namespace
from bascule.lab.shape import Shape
from bascule.model.errors import SystemFailure
from bascule.system.commands import run
from bascule.system.namespaces import call_in

PEER, PEER6 = "192.0.2.2", "2001:db8:2::2"
_APP = typer.Typer()
_APP.command()(doctor)
_MISSING = [tool for tool in ("ip", "nft", "sysctl", "bird") if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(bool(_MISSING), reason=f"needs {_MISSING}"),
]


class Machine:
    """A machine with an uplink to a peer, and an interface that leads to an instance."""

    def __init__(self) -> None:
        self.name = f"t{uuid4().hex[:8]}"
        self.peer = f"{self.name}-peer"

    def build(self) -> None:
        for name in (self.name, self.peer):
            run(["ip", "netns", "add", name])
        self.ip(f"link add eth0 mtu 1600 type veth peer name eth0 mtu 1600 netns {self.peer}")
        self.ip("link add tap1 type veth peer name tap1-far")
        for name, address in ((self.name, "192.0.2.1/24"), (self.peer, f"{PEER}/24")):
            run(["ip", "-n", name, "addr", "add", address, "dev", "eth0"])
            run(["ip", "-n", name, "link", "set", "eth0", "up"])
        for name, address in ((self.name, "2001:db8:2::1/64"), (self.peer, f"{PEER6}/64")):
            run(["ip", "-n", name, "addr", "add", address, "dev", "eth0", "nodad"])
        self.ip("link set tap1 up")
        self.run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tap1.rp_filter=0 net.ipv4.ip_forward=1")
        self.run("sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.eth0.keep_addr_on_down=1")

    def remove(self) -> None:
        for name in (self.name, self.peer):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def ip(self, words: str) -> None:
        run(["ip", "-n", self.name, *words.split()])

    def run(self, command: str) -> None:
        """As an operator would, in a shell."""
        run(["ip", "netns", "exec", self.name, "sh", "-c", command])

    def doctor(self, *words: str) -> tuple[int, dict[str, Any]]:
        """The command's exit code and its findings by subject."""
        line = ["--output", "json", "--interface", "eth0", *words]
        done = call_in(self.name, lambda: CliRunner().invoke(_APP, line, env={"BASCULE_UPLINKS": "eth0"}))
        assert not done.stderr
        return done.exit_code, {finding["subject"]: finding for finding in json.loads(done.stdout)}


@pytest.fixture
def machine() -> Iterator[Machine]:
    """One machine."""
    built = Machine()
    try:
        built.build()
        yield built
    finally:
        built.remove()


@pytest.mark.parametrize(
    ("damage", "subject"),
    [
        ("sysctl -qw net.ipv4.conf.tap1.rp_filter=1", "rp_filter tap1"),
        ("sysctl -qw net.ipv4.conf.all.rp_filter=1", "rp_filter tap1"),
        ("sysctl -qw net.ipv4.ip_forward=0", "ip_forward"),
        ("sysctl -qw net.ipv6.conf.all.forwarding=0", "ipv6 forwarding"),
        ("ip link set eth0 down", "interface eth0"),
        ("ip link set eth0 mtu 1400", f"path to {PEER}"),
        ("ip link set eth0 mtu 1400", f"path to {PEER6}"),
    ],
)
def test_a_problem_is_gone_after_its_fix(machine: Machine, damage: str, subject: str) -> None:
    """A machine that is made unfit fails with a finding; running the printed fix makes it fit again."""
    towards = ("--towards", PEER, "--towards", PEER6)
    hypervisor = ("--role", "hypervisor", "--tunnel-sources", "10.99.0.0/16,fd00::/8", *towards)
    before, _ = machine.doctor(*hypervisor)
    machine.run(damage)
    damaged, findings = machine.doctor(*hypervisor)
    assert (before, damaged) == (0, 1)
    assert findings[subject]["level"] == "problem"

    machine.run(findings[subject]["fix"])

    code, findings = machine.doctor(*hypervisor)
    assert code == 0, [finding for finding in findings.values() if finding["level"] == "problem"]


def test_warnings_leave_with_their_fixes_too(machine: Machine) -> None:
    """ARP that is too eager, and a rule that drops what conntrack does not know, are mended by the printed commands."""
    machine.run("nft 'add table inet filter; add chain inet filter forward { type filter hook forward priority 0; }'")
    machine.run("nft add rule inet filter forward ct state invalid drop")
    code, findings = machine.doctor()
    warned = {subject: finding["fix"] for subject, finding in findings.items() if finding["level"] == "warning"}
    assert code == 0
    for subject in ("arp eth0", "rule in inet filter forward"):
        machine.run(warned[subject])

    _, findings = machine.doctor()

    assert findings["arp eth0"]["level"] == "ok"
    assert "rule in inet filter forward" not in findings


@pytest.mark.parametrize(("peer", "arrives"), [(PEER, 576), (PEER6, 1280)])
def test_a_narrow_switch_between_is_found(machine: Machine, peer: str, arrives: int) -> None:
    """Packets that the route takes and the other end does not answer are told apart from those that arrive."""
    run(["ip", "-n", machine.peer, "link", "set", "eth0", "mtu", "1400"])

    facts = call_in(machine.name, lambda: gather_network(Choice(), [ip_address(peer)]))

    (path,) = facts.paths
    assert (path.interface, path.route_mtu, path.answered) == ("eth0", 1600, arrives)


def test_tunnels_get_another_source_by_the_fix(machine: Machine) -> None:
    """The printed commands give IPVS's tunnels the accepted source, while health checks keep the node's own."""
    instance, accepted = ip_address("10.128.0.9"), (ip_network("10.99.0.0/16"),)
    choice = Choice(roles=frozenset({Role.LB_NODE}), dataplane="ipvs", tunnel_sources=accepted)
    machine.ip(f"route add {instance} via {PEER}")

    def finding() -> Finding:
        (found,) = check_paths(Facts(network=gather_network(choice, instances=[instance])), choice)
        return found

    def own_source() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.connect((str(instance), 8080))
            return str(asked.getsockname()[0])

    before = call_in(machine.name, finding)
    assert (before.level, "source 192.0.2.1" in before.sentence) == (Level.PROBLEM, True)

    machine.run(before.fix)

    after = call_in(machine.name, finding)
    assert (after.level, "source 10.99.0.1" in after.sentence) == (Level.OK, True)
    assert call_in(machine.name, own_source) == "192.0.2.1"


def test_it_tells_native_xdp(machine: Machine) -> None:
    """veth runs XDP natively, a bridge does not."""
    machine.ip("link add br0 type bridge")
    facts = call_in(machine.name, lambda: gather_network(Choice()))
    assert facts.interfaces["eth0"].native_xdp
    assert facts.interfaces["br0"].native_xdp is False


@pytest.mark.lab
def test_a_lab_is_refused_with_the_doctors_sentence() -> None:
    """A hypervisor of a lab that cannot forward is named with the fix; without that fault there is nothing to say."""
    lab = life.up(f"t{uuid4().hex[:6]}", Shape(), hosts_only=True)
    try:
        examine(lab)
        switch = Path("/proc/sys/net/ipv4/ip_forward")
        call_in(namespace(lab.name, "hv1"), lambda: switch.write_text("0"))
        with pytest.raises(SystemFailure, match=r"hv1 cannot work: .*sysctl -w net\.ipv4\.ip_forward=1"):
            examine(lab)
    finally:
        life.down(lab.name)

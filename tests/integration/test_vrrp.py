"""Two nodes of VRRP by real keepalived: who has an address when something dies, freezes, parts or comes back."""

from __future__ import annotations

import json
import signal
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, cast

import pytest

from bascule.model.addresses import IPAddress
from bascule.model.reports import VrrpReport
from tests.vrrp_segment import GATEWAYS, NODES, Segment, missing, vips, with_options
from tests.waiting import until

pytestmark = pytest.mark.root

# A prefers the first of each pair, B the second.
B4, A4 = vips("203.0.113.17", 2)
B6, A6 = vips("2001:db8:203::11", 2)
VRRP = 112  # the protocol's number
ANSWER = "answers/keepalived.json"
SHORT = 4  # seconds that an address outlives its agent, in tests that wait for it


@pytest.fixture(autouse=True)
def able() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Segment() as made:
        yield made


def both_announce(segment: Segment, *addresses: IPAddress) -> None:
    """Both nodes take part, and each address is where it is preferred."""
    for node in segment.nodes.values():
        node.enforce(*addresses)
    until("every address at its node", lambda: all(at(segment, each, preferred(each)) for each in addresses), 20)


def preferred(address: IPAddress) -> str:
    return "a" if address in (A4, A6) else "b"


def at(segment: Segment, address: IPAddress, *names: str) -> bool:
    return segment.holders(address) == set(names)


def state_of(segment: Segment, name: str, address: IPAddress) -> VrrpReport:
    return next(each for each in segment.nodes[name].observe().vrrp if each.address == address)


def test_two_nodes_share_the_addresses(segment: Segment) -> None:
    """Of either family each node has one of two addresses and stands by for the other, and both report so."""
    both_announce(segment, A4, B4, A6, B6)
    for address in (A4, B4, A6, B6):
        holder = preferred(address)
        other = "b" if holder == "a" else "a"
        assert (state_of(segment, holder, address).state, state_of(segment, other, address).state) == (
            "MASTER",
            "BACKUP",
        )
    for node in segment.nodes.values():
        assert node.observe().announced == {A4, B4, A6, B6}
        assert node.enforce(A4, B4, A6, B6) == ()


BOTH = ("vrrp.pid", "keepalived.pid")


@pytest.mark.parametrize(
    ("number", "files"),
    [(signal.SIGKILL, BOTH), (signal.SIGKILL, BOTH[:1]), (signal.SIGSTOP, BOTH), (signal.SIGSTOP, BOTH[:1])],
    ids=["killed", "child killed", "frozen", "child frozen"],
)
def test_a_keepalived_that_is_killed_or_frozen_leaves_no_address(
    segment: Segment, number: signal.Signals, files: tuple[str, ...]
) -> None:
    """The other node takes the address, the dead one's agent takes it off; the next pass starts another keepalived."""
    both_announce(segment, A4, A6)
    for file in files:
        segment.nodes["a"].process(file).send(number)
    until("the other node alone", lambda: at(segment, A4, "b") and at(segment, A6, "b"), 20)
    notes = segment.nodes["a"].enforce(A4, A6)
    assert "started keepalived" in notes
    assert any(note.startswith(f"Took {A4} off eth0: keepalived was") for note in notes)
    until("the preferred node again", lambda: at(segment, A4, "a") and at(segment, A6, "a"), 20)


def test_a_keepalived_whose_parent_is_killed_is_replaced(segment: Segment) -> None:
    """Its child ends in order, and the next pass starts another."""
    both_announce(segment, A4)
    segment.nodes["a"].process("keepalived.pid").send(signal.SIGKILL)
    until("the other node alone", lambda: at(segment, A4, "b"), 20)
    assert "started keepalived" in segment.nodes["a"].enforce(A4)
    until("the preferred node again", lambda: at(segment, A4, "a"), 20)


def test_a_dead_agent_leaves_no_address_behind_a_dead_keepalived() -> None:
    """With agent and keepalived both gone at once, the kernel forgets the address by itself."""
    with Segment(hold=SHORT) as segment:
        both_announce(segment, A4, A6)
        node = segment.nodes["a"]
        until("a lifetime", lambda: "forever" not in lifetimes(segment, "a", A4) + lifetimes(segment, "a", A6), 10)
        node.kill_agent()
        node.kill_keepalived()
        until("the other node alone", lambda: at(segment, A4, "b") and at(segment, A6, "b"), 20)


def test_a_keepalived_without_an_agent_hands_over(segment: Segment) -> None:
    """keepalived gives up what nobody checks any more while it still can tell its peer."""
    segment.hold = SHORT
    both_announce(segment, A4)
    segment.nodes["a"].kill_agent()
    until("the other node alone", lambda: at(segment, A4, "b"), 20)
    assert segment.nodes["a"].process().is_running()


def test_an_agent_that_makes_no_pass_hands_over(segment: Segment) -> None:
    """A process that is there but does not do its work is no agent."""
    segment.hold = SHORT
    both_announce(segment, A4)
    node = segment.nodes["a"]
    node.kill_agent()
    segment.pass_most = 0
    node.enforce(A4)
    until("the other node alone", lambda: at(segment, A4, "b"), 20)


def test_an_agent_that_is_back_in_time_moves_nothing(segment: Segment) -> None:
    """A new agent finds keepalived running and changes nothing; no instance changes its state."""
    both_announce(segment, A4, B4)
    node, before = segment.nodes["a"], transitions(segment, "a")
    node.kill_agent()
    node.start_agent()
    assert node.enforce(A4, B4) == ()
    assert transitions(segment, "a") == before


def test_after_a_partition_one_node_has_the_address(segment: Segment) -> None:
    """Parted, both nodes think themselves alone; together again, one lets go, and clients hear of the other."""
    both_announce(segment, A4, A6)
    for address in (A4, A6):
        segment.ip("client", f"route add {address} dev eth0")
    segment.plug("a", up=False)
    until("both", lambda: at(segment, A4, "a", "b") and at(segment, A6, "a", "b"), 20)
    for address in (A4, A6):
        until("the client at b", lambda address=address: heard_at(segment, address, "b"))  # type: ignore[misc]
    segment.plug("a", up=True)
    until("one", lambda: at(segment, A4, "a") and at(segment, A6, "a"), 20)
    for address in (A4, A6):
        until("the client at a", lambda address=address: heard_at(segment, address, "a"))  # type: ignore[misc]


def test_an_address_that_is_not_ready_here_moves_alone(segment: Segment) -> None:
    """What the agent withdraws goes to the other node at once; the node's other addresses stay."""
    both_announce(segment, A4, A6)
    before = transitions(segment, "a")[A6]
    assert segment.nodes["a"].enforce(A6) == (f"withdrew {A4}",)
    assert segment.nodes["a"].observe().announced == {A6}
    until("the other node alone", lambda: at(segment, A4, "b"), 20)
    assert transitions(segment, "a")[A6] == before


def test_a_new_address_moves_no_other(segment: Segment) -> None:
    """keepalived reads a longer configuration while it holds an address, and goes on holding it."""
    both_announce(segment, A4, A6)
    before = transitions(segment, "a")
    segment.nodes["a"].enforce(A4, A6, B4)
    after = transitions(segment, "a")
    assert {address: after[address] for address in before} == before


def test_what_a_hand_took_away_comes_back(segment: Segment) -> None:
    """keepalived sees that its address is gone, and one of the nodes has it again."""
    both_announce(segment, A4)
    segment.ip("a", f"addr del {A4}/32 dev eth0")
    until("the address", lambda: at(segment, A4, "a"), 20)


def test_what_a_hand_added_goes_away(segment: Segment) -> None:
    """An address that keepalived is not master of is taken off the interface."""
    both_announce(segment, A4)
    segment.ip("b", f"addr add {A4}/32 dev eth0")
    until("one holder", lambda: at(segment, A4, "a"), 20)


def test_old_state_on_disk_leaves_no_address(segment: Segment) -> None:
    """An agent that comes back to files of a dead keepalived takes off what was left, carried or not."""
    both_announce(segment, A4, A6)
    node = segment.nodes["a"]
    node.kill_agent()
    node.kill_keepalived()
    node.enforce(A6)
    assert at(segment, A4, "b") or A4 not in node.present()
    until("each at one node", lambda: at(segment, A4, "b") and at(segment, A6, "a"), 20)


def test_a_configuration_that_somebody_changed_is_written_again(segment: Segment) -> None:
    """What an editor did to keepalived's file is undone without moving an address."""
    both_announce(segment, A4)
    node = segment.nodes["a"]
    file = node.folder / "keepalived.conf"
    wanted, before = file.read_text(), transitions(segment, "a")
    file.write_text(wanted.replace("priority 250", "priority 1"))
    assert node.enforce(A4) == ("wrote keepalived's configuration",)
    assert (file.read_text(), transitions(segment, "a")) == (wanted, before)


def test_an_agent_that_died_before_it_told_keepalived_is_made_up_for(segment: Segment) -> None:
    """What one process wrote the next one has keepalived read, though the file is as it should be."""
    both_announce(segment, A4)
    node = segment.nodes["a"]
    node.kill_agent()
    file = node.folder / "keepalived.conf"
    text = file.read_text()
    file.write_text(text.replace("priority 250", "priority 100"))
    node.process("keepalived.pid").send(signal.SIGHUP)
    until("the worse priority", lambda: at(segment, A4, "b"), 20)
    file.write_text(text)
    assert node.enforce(A4) == ()
    until("the better one", lambda: at(segment, A4, "a"), 20)


def test_nothing_to_announce_needs_no_keepalived(segment: Segment) -> None:
    """The last address takes keepalived with it, and the first brings it back."""
    both_announce(segment, A4)
    node = segment.nodes["a"]
    assert node.enforce() == ("stopped keepalived", f"withdrew {A4}")
    assert (node.process().is_running(), node.present(), node.observe().announced) == (False, frozenset(), frozenset())
    until("the other node", lambda: at(segment, A4, "b"), 20)


def test_replies_of_an_address_go_by_its_gateway_on_the_master_alone() -> None:
    """The route and the rule of an address come and go with it, by tables of its own, in both families."""
    with Segment(with_options(gateways=GATEWAYS)) as segment:
        both_announce(segment, A4, A6)
        for address, client in ((A4, "198.51.100.1"), (A6, "2001:db8:198::1")):
            gateway = next(each for each in GATEWAYS if each.version == address.version)
            found = segment.ip("a", f"route get {client} from {address}")
            assert f"via {gateway} dev eth0 table" in found
            assert str(address) not in segment.do("b", f"ip -{address.version} rule show")
        segment.nodes["a"].enforce()
        until("the rule at the other node", lambda: str(A4) in segment.do("b", "ip -4 rule show"), 20)
        assert str(A4) not in segment.do("a", "ip -4 rule show")


def test_the_segment_hears_the_master_alone(segment: Segment) -> None:
    """Although data planes have the address on both nodes, the master's interface is the only one that answers ARP."""
    both_announce(segment, A4, A6)
    for name in NODES:
        segment.ip(name, f"addr add {A4}/32 dev lo", f"addr add {A6}/128 dev lo nodad")
    for address in (A4, A6):
        segment.ip("client", f"route replace {address} dev eth0")
        for _ in range(3):
            segment.ip("client", "neigh flush dev eth0")
            segment.inside("client", lambda address=address: say_something(address))  # type: ignore[misc]
            until("an answer", lambda address=address: "lladdr" in neighbour(segment, address))  # type: ignore[misc]
            assert f"lladdr {mac(segment, 'a')} " in neighbour(segment, address)


def test_adverts_of_strangers_are_not_obeyed(segment: Segment) -> None:
    """Who is no peer takes no address away, whatever priority it claims: VRRP has no other protection."""
    both_announce(segment, A4)
    before = transitions(segment, "a")
    source, target = GATEWAYS[0], NODES["a"][0]
    number = state_of(segment, "a", A4).router_id
    packet = advert(source, target, number)
    with segment.inside("a", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, VRRP)) as listening:
        segment.inside("client", lambda: send(packet, target))
        while not listening.recv(2048).endswith(packet):
            pass
    assert transitions(segment, "a") == before
    assert transitions(segment, "a") == before


def test_a_node_without_a_lease_gives_its_addresses_up() -> None:
    """Unless the control plane spoke lately a node announces nothing, says so, and goes on when it speaks again."""
    with Segment(lease=3600) as segment:
        node = segment.nodes["a"]
        assert "The control plane has not spoken for 3600 s" in node.enforced(A4)
        assert node.observe().announced == set()
        node.lease().renew()
        node.kill_agent()
        node.enforce(A4)
        until("the address", lambda: at(segment, A4, "a"), 20)
        (node.folder / "lease").write_text("0.5\n")
        node.kill_agent()
        assert "BASCULE_LEASE" in node.enforced(A4)
        assert at(segment, A4)


def test_a_script_hears_of_the_change(segment: Segment) -> None:
    """The operator's script is run with what happened to which address."""
    script, told = segment.folder / "tell", segment.folder / "told"
    script.write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
    script.chmod(0o755)
    segment.options = with_options(notify=script)
    segment.nodes["a"].enforce(A4)
    until("the script", lambda: told.exists() and f"vip-{A4} MASTER 250" in told.read_text(), 20)


def test_a_node_that_does_not_preempt_waits() -> None:
    """Without preemption the better node stands by while the other has the address."""
    with Segment(with_options(preempt=False)) as segment:
        segment.nodes["b"].enforce(A4)
        until("the first node", lambda: at(segment, A4, "b"), 20)
        segment.nodes["a"].enforce(A4)
        until("the second stands by", lambda: state_of(segment, "a", A4).state == "BACKUP", 20)
        until("adverts", lambda: received(segment, "a") > 3, 20)
        assert at(segment, A4, "b")


def advert(source: IPAddress, target: IPAddress, number: int) -> bytes:
    """A VRRPv3 advert of the highest priority (RFC 9568, section 5.1)."""
    fields = (0x31, number, 255, 1, 20)
    body = struct.pack("!BBBBHH", *fields, 0) + A4.packed
    pseudo = source.packed + target.packed + struct.pack("!BBH", 0, VRRP, len(body))
    total = sum(struct.unpack(f"!{len(pseudo + body) // 2}H", pseudo + body))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBBBHH", *fields, ~(total + (total >> 16)) & 0xFFFF) + A4.packed


def send(packet: bytes, target: IPAddress) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, VRRP) as raw:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        raw.sendto(packet, (str(target), 0))


def transitions(segment: Segment, name: str) -> dict[IPAddress, tuple[int, ...]]:
    """The state of each instance, and how often it became master and ceased to be."""
    return {
        ip_address(each["data"]["iname"][4:]): (
            each["data"]["state"],
            each["stats"]["become_master"],
            each["stats"]["release_master"],
        )
        for each in told_by(segment, name)
    }


def told_by(segment: Segment, name: str) -> list[dict[str, Any]]:
    """What keepalived tells when the agent asks; the agent's guard may be asking anew, so until all of it is there."""
    while True:
        segment.nodes[name].observe()
        try:
            return cast("list[dict[str, Any]]", json.loads((segment.nodes[name].folder / ANSWER).read_text()))
        except (OSError, ValueError):
            continue


def received(segment: Segment, name: str) -> int:
    """Adverts that came for the node's instances, from whomever."""
    return int(sum(each["stats"]["advert_rcvd"] for each in told_by(segment, name)))


def lifetimes(segment: Segment, name: str, address: IPAddress) -> str:
    return segment.do(name, f"ip -oneline addr show dev eth0 to {address}")


def heard_at(segment: Segment, address: IPAddress, name: str) -> bool:
    """Whether the client, which asks on, takes the node for the address's owner."""
    segment.inside("client", lambda: say_something(address))
    return f"lladdr {mac(segment, name)} " in neighbour(segment, address)


def say_something(address: IPAddress) -> None:
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as speaking:
        speaking.sendto(b"?", (str(address), 9))


def neighbour(segment: Segment, address: IPAddress) -> str:
    return segment.do("client", f"ip neigh show {address} dev eth0")


def mac(segment: Segment, name: str) -> str:
    return segment.ip(name, "link show eth0").split("link/ether ")[1].split()[0]

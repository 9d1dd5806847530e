"""Real connections through IPVS as keepalived keeps it, and what becomes of them when things break."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bascule.model.errors import SystemFailure
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode, OnFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import VirtualBackend
from tests.ipvs.bench import VIP
from tests.ipvs.centre import ADDRESSES, CLIENT, TARGET_PORT, Centre, ask_again, backend
from tests.ipvs.keepalived_bench import TCP_CHECK, Node, checked, healths, kill, serve, until

pytestmark = [pytest.mark.root, pytest.mark.guest]
ONE, TWO = ADDRESSES[4]["one"], ADDRESSES[4]["two"]
WEB = checked(backend("one"), backend("two"))


def test_an_instance_sees_the_client(centre: Centre, node: Node) -> None:
    """TCP and UDP go into the namespace, out of it in a tunnel, and the instance sees the client's own address."""
    names = checked(backend("one"), port=53, protocol=Protocol.UDP)
    serve(node, WEB, names)
    assert node.observe().ready == {VIP}
    with centre.connect() as connection:
        name, *seen = ask_again(connection)
        assert name in {"one", "two"}
        assert seen == [CLIENT, str(connection.getsockname()[1])]
    assert centre.ask_by_datagram(53)[:2] == ["one", CLIENT]
    assert {centre.ask()[0] for _ in range(8)} == {"one", "two"}
    assert centre.tunnel_source(4) == node.names.source
    assert node.enforce(WEB, names) == ()


@pytest.mark.parametrize("on_failure", OnFailure)
def test_an_instance_that_fails_is_left_out_until_it_is_back(centre: Centre, node: Node, on_failure: OnFailure) -> None:
    """Its failed check takes it out, or its weight; a good one brings it back; and a quiet pass has nothing to say."""
    web = replace(WEB, health_check=replace(TCP_CHECK, on_failure=on_failure))
    serve(node, web)
    assert healths(node) == {ONE: Health.SUCCESS, TWO: Health.SUCCESS}
    centre.unplug("two")
    until(node, web, condition=lambda: healths(node)[TWO] is Health.FAILURE)
    assert {centre.ask()[0] for _ in range(6)} == {"one"}
    inhibited = f"{TWO}:80" in node.do("ipvsadm -Sn")
    assert inhibited == (on_failure is OnFailure.INHIBIT)
    assert node.enforce(web) == ()
    centre.plug("two")
    until(node, web, condition=lambda: healths(node)[TWO] is Health.SUCCESS)
    assert {centre.ask()[0] for _ in range(6)} == {"one", "two"}


def test_the_sorry_server_serves_without_a_quorum(centre: Centre, node: Node) -> None:
    """Too little weight for the quorum, and only the sorry server answers; also where all of it would not be enough."""
    for quorum in (2, 9):
        web = checked(backend("one"), check=replace(TCP_CHECK, quorum=quorum, sorry_server=TWO))
        serve(node, web)
        until(node, web, condition=lambda: healths(node) == {ONE: Health.SUCCESS, TWO: None})
        assert {centre.ask()[0] for _ in range(4)} == {"two"}


@pytest.mark.parametrize("sorry", [False, True], ids=["others serve", "the sorry server serves"])
def test_a_draining_instance_keeps_its_connections(centre: Centre, node: Node, sorry: bool) -> None:
    """Also when it fails its check, and beside the sorry server; what remains is counted, and new ones go elsewhere."""
    check = replace(TCP_CHECK, sorry_server=ONE if sorry else None)
    before = checked(backend("two"), check=check)
    serve(node, before)
    until(node, before, condition=lambda: healths(node)[TWO] is Health.SUCCESS)
    others = () if sorry else (backend("one"),)
    with centre.connect() as connection:
        assert ask_again(connection)[0] == "two"
        web = checked(*others, backend("two", 0), check=check)
        serve(node, web)
        until(node, web, condition=lambda: centre.ask()[0] == "one")
        failing = replace(web, health_check=replace(check, port=1))
        serve(node, failing)
        until(node, failing, condition=lambda: healths(node)[TWO] is Health.FAILURE)
        assert ask_again(connection)[0] == "two"
        left = {each.address: each.remaining for each in node.observe().services[0].backends}
        assert left[TWO] == 1


@pytest.mark.parametrize("port", [1, TARGET_PORT], ids=["all down", "drained"])
def test_a_service_that_nobody_serves_refuses(centre: Centre, node: Node, port: int) -> None:
    """With all instances down or at weight 0, by TCP and UDP, and so does a port without a service."""
    check = replace(TCP_CHECK, port=port)
    weight = 0 if port == TARGET_PORT else 1
    web = checked(backend("one", weight), check=check)
    names = checked(backend("one", weight), check=check, port=53, protocol=Protocol.UDP)
    serve(node, web, names)
    for refused in (80, 81):
        with pytest.raises(ConnectionRefusedError):
            centre.connect(refused)
    for refused in (53, 54):
        with pytest.raises(ConnectionRefusedError):
            centre.ask_by_datagram(refused)


def test_a_killed_keepalived_is_back_without_losing_a_connection(centre: Centre, node: Node) -> None:
    """All its processes gone, IPVS forwards on, the next pass starts it again, and open connections never notice."""
    serve(node, WEB)
    with centre.connect() as connection:
        before = ask_again(connection)
        kill(node)
        assert ask_again(connection) == before
        assert centre.ask()[0] in {"one", "two"}
        assert any("Started keepalived" in sentence for sentence in node.enforce(WEB))
        assert ask_again(connection) == before
        until(node, WEB, condition=lambda: healths(node) == {ONE: Health.SUCCESS, TWO: Health.SUCCESS})
        assert ask_again(connection) == before
        assert {centre.ask()[0] for _ in range(6)} == {"one", "two"}


def test_a_change_while_it_was_dead_is_made(centre: Centre, node: Node) -> None:
    """What a new keepalived does not know of is taken out of IPVS."""
    serve(node, WEB)
    kill(node)
    only = checked(backend("one"), strategy=Strategy.MAGLEV_HASH)
    node.enforce(only)
    saved = node.do("ipvsadm -Sn")
    assert f"{TWO}:80" not in saved
    assert "-s mh" in saved
    until(node, only, condition=lambda: healths(node) == {ONE: Health.SUCCESS})


@pytest.mark.slow
def test_killed_in_the_middle_of_a_reload(centre: Centre, node: Node) -> None:
    """All of it dies with a new configuration to read: a pass fails or not, and the next has it running that one."""
    serve(node, WEB)
    changed = checked(backend("one", 5), backend("two"))
    file = node.folder / node.names.namespace / "keepalived.conf"
    before = file.read_text()
    with ThreadPoolExecutor(1) as others:
        passing = others.submit(node.enforce, changed)
        while file.read_text() == before and not passing.done():
            os.sched_yield()
        os.kill(node.pids()["keepalived"], signal.SIGHUP)
        kill(node)
        with suppress(SystemFailure):
            passing.result()

    def serves() -> bool:
        # The weight may be in place though that pass failed, and then nothing is ready.
        return f"{ONE}:80 -i -w 5" in node.do("ipvsadm -Sn") and node.observe().ready == {VIP}

    until(node, changed, condition=serves)


DAMAGE = (
    "ipvsadm --clear",
    f"ipvsadm -d -t {VIP}:80 -r {ONE}:80",
    f"ipvsadm -a -t {VIP}:80 -r 10.128.0.9:80 -i",
    f"ipvsadm -e -t {VIP}:80 -r {ONE}:80 -i -w 9",
    f"ipvsadm -E -t {VIP}:80 -s rr",
    f"ip addr del {VIP}/32 dev lo",
    "ip addr add 10.99.0.9/32 dev uplink",
    "ip link set uplink down",
    "ip route del default",
    "sysctl -qw net.ipv4.vs.sloppy_tcp=0",
)


def test_damage_is_repaired(centre: Centre, node: Node) -> None:
    """What somebody else changed in the namespace is put right by the next pass, which says so; then all is quiet."""
    serve(node, WEB)
    before = node.do("ipvsadm -Sn")
    for damage in DAMAGE:
        node.do(damage)
        assert node.enforce(WEB), damage
        assert node.enforce(WEB) == (), damage
        assert node.do("ipvsadm -Sn") == before, damage
        assert node.observe().ready == {VIP}, damage
        assert {centre.ask()[0] for _ in range(6)} == {"one", "two"}, damage


def test_a_removed_namespace_comes_back(centre: Centre, node: Node) -> None:
    """With another keepalived: the one that ran would write into the namespace that is gone."""
    serve(node, WEB)
    before = node.pids()
    centre.do("lb", f"ip netns del {node.names.namespace}")
    assert node.observe().ready == frozenset()
    serve(node, WEB)
    assert node.pids().keys() == before.keys()
    assert not set(node.pids().values()) & set(before.values())
    assert node.observe().ready == {VIP}
    assert {centre.ask()[0] for _ in range(6)} == {"one", "two"}


def test_what_is_not_ours_is_left_alone_and_named_once(centre: Centre, node: Node) -> None:
    """A virtual server of another address stays in the namespace, and namespaces of others stay on the node."""
    serve(node, WEB)
    node.do("ipvsadm -A -t 192.0.2.7:80 -s rr")
    (sentence,) = node.enforce(WEB)
    assert "192.0.2.7" in sentence
    assert node.enforce(WEB) == ()
    assert "192.0.2.7:80" in node.do("ipvsadm -Sn")
    node.enforce(held=False)
    assert not (Path("/run/netns") / node.names.namespace).exists()
    assert Path("/run/netns", centre.of("hv")).exists()
    assert node.pids() == {}


def test_an_agent_that_restarts_takes_keepalived_over(centre: Centre, node: Node) -> None:
    """Another driver finds it running as it should, and says and changes nothing."""
    serve(node, WEB)
    before = node.pids()
    node.driver.close()
    node.restart()
    assert node.enforce(WEB) == ()
    assert node.pids() == before
    assert node.observe().ready == {VIP}


def test_a_service_of_a_missing_script_is_refused(node: Node) -> None:
    """Before anything is changed, by a sentence that says what to do."""
    web = checked(backend("one"), check=HealthCheck(mode=HealthCheckMode.SCRIPT, port=80, script="no-such-script"))
    with pytest.raises(SystemFailure, match="install it on every LB node"):
        node.driver.require((web,))
    with pytest.raises(SystemFailure, match="no-such-script"):
        node.enforce(web)


def test_a_script_decides_and_weighs(centre: Centre, node: Node) -> None:
    """The operator's script is run, and its exit status is the instance's weight."""
    good = replace(TCP_CHECK, mode=HealthCheckMode.SCRIPT, script="true")
    serve(node, checked(backend("one"), backend("two"), check=good))
    assert healths(node) == {ONE: Health.SUCCESS, TWO: Health.SUCCESS}
    # false ends with 1; expr says of its arguments, "address port", that they are no expression, which is status 2.
    weighed = checked(backend("one"), check=replace(good, script="expr", script_weight=True))
    until(node, weighed, condition=lambda: f"{ONE}:80 -i -w 0" in node.do("ipvsadm -Sn"))
    assert healths(node) == {ONE: Health.SUCCESS}
    bad = checked(backend("one"), check=replace(good, script="false"))
    node.enforce(bad)
    until(node, bad, condition=lambda: healths(node) == {ONE: Health.FAILURE})


@pytest.mark.slow
def test_reloads_are_few(node: Node) -> None:
    """A pass in which much changed reloads once, and one in which nothing did, never."""
    serve(node, WEB)
    before = node.log().count("Reloading")
    for last in range(3):
        more = tuple(checked(backend("one", last + 1), port=8000 + each) for each in range(20))
        node.enforce(WEB, *more)
        node.enforce(WEB, *more)
    # The checker logs it; its parent says "Reloading …" in other words.
    assert node.log().count(": Reloading\n") - before == 3


def test_words_come_back_as_they_were(node: Node) -> None:
    """What keepalived says of its own configuration: escaped and plain words are what they were."""
    check = HealthCheck(
        mode=HealthCheckMode.HTTP,
        port=9000,
        uri="/a!b#c",
        body_pattern=r"\{\"x\": '[^#!$]{1,3}\}",
        timeout=1,
        interval=9,
    )
    web = checked(backend("one"), check=check)
    node.enforce(web)
    answers = (node.folder / node.names.namespace / "answers" / "keepalived_check.data").read_text()
    assert r"""Regex = "\{\"x\": '[^#!$]{1,3}?\}" """.strip() in answers
    assert "/a!b\n" in answers


@pytest.mark.slow
def test_a_thousand_members_load_and_reload(
    node: Node, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """All are checked, and a change among them is one reload; junit.xml has the times."""
    check = replace(TCP_CHECK, interval=60)
    members = [
        VirtualBackend(address=IPv4Address("10.128.4.0") + each, weight=1, target_port=80) for each in range(1000)
    ]
    for what, weight in (("load", 1), ("reload", 2)):
        wanted = checked(replace(members[0], weight=weight), *members[1:], check=check, strategy=Strategy.MAGLEV_HASH)
        began = time.monotonic()
        node.enforce(wanted)
        record_testsuite_property(f"seconds, keepalived, 1000 members {what}", round(time.monotonic() - began, 2))
        (seen,) = node.observe().services
        assert len(seen.backends) == 1000
        until(node, wanted, condition=lambda: node.observe().ready == {VIP})
    assert node.log().count(": Reloading\n") == 1

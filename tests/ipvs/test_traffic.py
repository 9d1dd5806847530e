"""Real connections through real IPVS, tunnels and hypervisor rules."""

from __future__ import annotations

import re
import socket
from collections import Counter
from contextlib import ExitStack

import pytest

from bascule.model.strategies import Protocol, Strategy
from tests.ipvs.bench import FAMILIES, VIP, VIPS, service
from tests.ipvs.centre import ADDRESSES, BIG, PATIENCE, Centre, ask_again, backend

pytestmark = pytest.mark.root
UDP = Protocol.UDP
# These look at nothing but the address that the client asked for, which is the VIP: all go to one backend.
BY_ADDRESS = {
    Strategy.DESTINATION_HASH,
    Strategy.LOCALITY_LEAST_CONNECTIONS,
    Strategy.LOCALITY_LEAST_CONNECTIONS_REPLICATED,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_replies_never_pass_the_node(centre: Centre, family: int) -> None:
    """Of a long answer the LB node sends nothing on: only the client's own packets pass it, a header longer."""
    centre.node.enforce(service(backend("one", family=family), family=family))
    before = centre.sent("lb", "eth0"), centre.sent("client", "eth0")
    with centre.connect(family=family) as connection:
        connection.sendall(b"big\n")
        left = BIG
        while left:
            left -= len(connection.recv(min(left, 65536)))
    by_node, by_client = centre.sent("lb", "eth0") - before[0], centre.sent("client", "eth0") - before[1]
    assert 0 < by_client < BIG / 4
    assert by_client < by_node < BIG / 4


@pytest.mark.parametrize(("outside", "inside"), [(4, 4), (6, 6), (4, 6), (6, 4)])
def test_long_packets_fit_the_tunnel(centre: Centre, outside: int, inside: int) -> None:
    """A client whose packets fill the link is told how long they may be, and what it sends arrives."""
    centre.node.enforce(service(backend("one", family=inside), family=outside))
    centre.do("client", "ethtool -K eth0 tso off gso off")
    with centre.connect(family=outside) as connection:
        connection.sendall(b"x" * 100_000)
        assert ask_again(connection)[0] == "one"
    told = centre.do("client", f"ip route get {VIPS[outside]}")
    assert re.search(r"mtu 14[68]0", told)


def test_round_robin_keeps_the_weights(centre: Centre) -> None:
    """Forty connections are spread by the weights, exactly."""
    centre.node.enforce(service(backend("one", 1), backend("two", 3)))
    assert Counter(centre.ask()[0] for _ in range(40)) == {"one": 10, "two": 30}


@pytest.mark.parametrize("strategy", sorted(BY_ADDRESS))
def test_the_address_decides(centre: Centre, strategy: Strategy) -> None:
    """Strategies made for caches send all connections to an idle address to one backend."""
    centre.node.enforce(service(backend("one"), backend("two"), strategy=strategy))
    assert len({centre.ask()[0] for _ in range(8)}) == 1


@pytest.mark.parametrize("strategy", [Strategy.LEAST_CONNECTIONS, Strategy.WEIGHTED_LEAST_CONNECTIONS])
def test_the_idler_backend_is_next(centre: Centre, strategy: Strategy) -> None:
    """A new connection goes to the backend with the fewest, and `wlc` alone counts by weight."""
    centre.node.enforce(service(backend("one", 1), backend("two", 3), port=83, strategy=strategy))
    with ExitStack() as stack:
        open_ones = [stack.enter_context(centre.connect(83)) for _ in range(16)]
        by_name = Counter(ask_again(each)[0] for each in open_ones)
    assert by_name["two"] in ({8} if strategy is Strategy.LEAST_CONNECTIONS else {11, 12, 13})


def test_source_hash_may_ignore_the_port(centre: Centre) -> None:
    """Without the port all connections of a client meet one backend; with it they spread."""
    both = backend("one"), backend("two")
    for strategy in (Strategy.SOURCE_HASH, Strategy.MAGLEV_HASH):
        centre.node.enforce(service(*both, strategy=strategy, hash_source_port=False))
        assert len({centre.ask()[0] for _ in range(12)}) == 1
        centre.node.enforce(service(*both, strategy=strategy, hash_source_port=True))
        assert len({centre.ask()[0] for _ in range(24)}) == 2


@pytest.mark.parametrize("strategy", [each for each in Strategy if each not in BY_ADDRESS])
def test_a_drained_backend_keeps_its_connections(centre: Centre, strategy: Strategy) -> None:
    """A change of weight is one change, breaks no connection, and weight 0 takes no new ones, which others take."""
    centre.node.enforce(service(backend("one"), backend("two"), strategy=strategy))
    with ExitStack() as stack:
        open_ones = [stack.enter_context(centre.connect()) for _ in range(12)]
        before = [ask_again(each)[0] for each in open_ones]
        assert set(before) == {"one", "two"}
        (sentence,) = centre.node.enforce(service(backend("one"), backend("two", 0), strategy=strategy))
        assert "weight 0" in sentence
        assert [ask_again(each)[0] for each in open_ones] == before
        assert {centre.ask()[0] for _ in range(12)} == {"one"}
        (web,) = centre.node.observe().services
        assert web.backends[1].active_connections == before.count("two")
        # Those of the tests before end just now.
        assert web.backends[0].remaining is None
        assert (web.backends[1].remaining or 0) >= before.count("two")


def test_another_strategy_breaks_no_connection(centre: Centre) -> None:
    """A service changes its strategy in place."""
    centre.node.enforce(service(backend("one"), backend("two")))
    with centre.connect() as one, centre.connect() as two:
        before = ask_again(one), ask_again(two)
        (sentence,) = centre.node.enforce(service(backend("one"), backend("two"), strategy=Strategy.MAGLEV_HASH))
        assert "Changed" in sentence
        assert (ask_again(one), ask_again(two)) == before


def test_a_flushed_table_is_rebuilt(centre: Centre) -> None:
    """After a foreign hand flushed IPVS the next pass has all back, and says so; open connections go on."""
    web = service(backend("one"), backend("two"), strategy=Strategy.MAGLEV_HASH)
    centre.node.enforce(web)
    with centre.connect() as connection:
        before = ask_again(connection)
        centre.do("lb", "ipvsadm --clear")
        assert centre.node.observe().ready == frozenset()
        assert len(centre.node.enforce(web)) >= 3
        assert centre.node.observe().ready == {VIP}
        assert ask_again(connection) == before
        assert centre.ask()[0] in {"one", "two"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weights", [(), (0,)], ids=["none", "drained"])
def test_a_service_that_nobody_serves_refuses(centre: Centre, weights: tuple[int, ...], family: int) -> None:
    """Without a backend that takes connections, clients learn at once, by TCP and UDP."""
    backends = [backend("one", weight, family=family) for weight in weights]
    centre.node.enforce(service(*backends, family=family), service(*backends, port=53, protocol=UDP, family=family))
    with pytest.raises(ConnectionRefusedError):
        centre.connect(family=family)
    with pytest.raises(ConnectionRefusedError):
        centre.ask_by_datagram(53, family)


@pytest.fixture(scope="module")
def daemon(centre: Centre) -> int:
    """The port of a daemon of the node that listens on all its addresses."""
    centre.serve("lb", 2222)
    return 2222


@pytest.mark.parametrize("family", FAMILIES)
def test_other_ports_of_the_address_refuse(centre: Centre, daemon: int, family: int) -> None:
    """A port without a service refuses, even when a daemon of the node listens on all its addresses."""
    centre.node.enforce(service(backend("one", family=family), family=family))
    with pytest.raises(ConnectionRefusedError):
        centre.connect(daemon, family=family)
    with pytest.raises(ConnectionRefusedError):
        centre.ask_by_datagram(daemon, family)
    own = (str(ADDRESSES[family]["lb"]), daemon)
    with centre.inside("client", lambda: socket.create_connection(own, PATIENCE)) as connection:
        assert ask_again(connection)[0] == "lb"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_ftp_service_opens_no_other_port(centre: Centre, daemon: int, family: int) -> None:
    """IPVS would let clients pass to the node's daemons: such a service is left out, refuses, and is named once."""
    ftp, web = (service(backend("one", family=family), port=port, family=family) for port in (21, 80))
    (sentence,) = (each for each in centre.node.enforce(ftp, web) if "FTP" in each)
    assert str(ftp.key) in sentence
    assert centre.node.enforce(ftp, web) == ()
    assert VIPS[family] in centre.node.observe().ready
    assert centre.ask(family=family)[0] == "one"
    for port in (21, daemon):
        with pytest.raises(ConnectionRefusedError):
            centre.connect(port, family=family)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_ftp_service_would_open_other_ports(centre: Centre, daemon: int, family: int) -> None:
    """This kernel really does what the driver avoids; when none does any more, the driver need not."""
    centre.node.enforce(service(backend("one", family=family), family=family))
    vip = f"[{VIPS[family]}]" if family == 6 else str(VIPS[family])
    centre.do("lb", f"ipvsadm -A -t {vip}:21 -s rr")
    assert centre.ask(daemon, family=family)[0] == "lb"


def test_the_report_counts(centre: Centre) -> None:
    """The report shows the connections of each backend as they are."""
    centre.node.enforce(service(backend("one"), backend("two"), port=81))
    with centre.connect(81) as one, centre.connect(81) as two:
        assert ask_again(one)[0] != ask_again(two)[0]
        (web,) = centre.node.observe().services
        assert [each.active_connections for each in web.backends] == [1, 1]

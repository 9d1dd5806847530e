"""The driver against a kernel that others change: what it repairs, and what it says."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.forwarding.ebpf import pins
from bascule.model.errors import SystemFailure
from bascule.system.bpf import BpfObject
from bascule.system.commands import run
from tests.bpf.hypervisor_network import (
    INSTANCES,
    TIMEOUT,
    VIP,
    Network,
    compile_encapsulation,
    reason_to_skip,
    rule,
    sysctl,
)

FIRST, SECOND = INSTANCES
WEB, OTHER = rule(80, FIRST, 8080), rule(81, SECOND, 8081)

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """The namespaces, with a tunnel to the first instance."""
    with Network(tmp_path) as built:
        built.tunnel(80, FIRST)
        yield built


def filters(network: Network, interface: str) -> str:
    """The classifiers on an interface's ingress, as tc lists them."""
    return run(["tc", "-n", network.of("hypervisor"), "filter", "show", "dev", interface, "ingress"])


def assert_serves(network: Network) -> None:
    """A connection through the VIP is answered by the first instance."""
    with network.serve("instance1", 8080) as listener, network.connect(VIP, 80) as client:
        server, _ = listener.accept()
        with server:
            server.sendall(b"served")
            assert client.recv(100) == b"served"


@pytest.mark.parametrize("interface", ["uplink0", "tap1"])
def test_a_removed_filter_is_attached_again(network: Network, interface: str) -> None:
    """Somebody deletes the qdisc with our filter: the next enforcement puts it back and names the interface."""
    driver = network.driver(WEB)
    run(["tc", "-n", network.of("hypervisor"), "qdisc", "del", "dev", interface, "clsact"])

    repairs = network.enforce(driver, WEB)

    assert len(repairs) == 1
    assert interface in repairs[0]
    assert_serves(network)


def test_an_instance_that_reboots_is_served_again(network: Network) -> None:
    """Its interface goes: the instance is reported out of place; a new interface comes: it is served through that."""
    driver = network.driver(WEB)
    network.ip("hypervisor", "link del tap1")
    assert network.inside("hypervisor", driver.observe).instances == frozenset()
    assert any(str(FIRST) in repair for repair in network.enforce(driver, WEB))
    assert network.enforce(driver, WEB) == ()

    network.add_instance(1)
    network.enforce(driver, WEB)

    assert network.inside("hypervisor", driver.observe).instances == {FIRST}
    assert_serves(network)


def test_filters_leave_interfaces_that_serve_nobody(network: Network) -> None:
    """With an instance's last rule its interface is left as it was found, also when another process had attached."""
    first = network.driver(WEB, OTHER)
    assert "hypervisor" in filters(network, "tap2")
    first.close()

    network.driver(WEB)

    assert "hypervisor" not in filters(network, "tap2")
    assert "hypervisor" in filters(network, "tap1")
    assert_serves(network)


def test_maps_of_another_shape_start_over(network: Network) -> None:
    """Pinned maps that cannot be read are replaced by new ones, the driver says so, and service resumes."""
    network.driver(WEB).close()
    pinned = pins.folder(network.bpf_dir)
    (pinned / "instances").unlink()
    # Its map of that name has room for fewer.
    BpfObject(compile_encapsulation(network.bpf_dir.parent), pin_maps_under=pinned).close()

    driver = network.start()
    repairs = network.enforce(driver, WEB)

    assert any("another layout" in repair for repair in repairs)
    assert_serves(network)


def test_maps_of_an_older_layout_are_removed(network: Network) -> None:
    """The folder of another layout goes once the new programs are in place, and the driver says so."""
    network.driver(WEB).close()
    older = network.bpf_dir / "hypervisor-v0"
    pins.folder(network.bpf_dir).rename(older)

    driver = network.start()
    repairs = network.enforce(driver, WEB)

    assert any(older.name in repair for repair in repairs)
    assert not older.exists()
    assert_serves(network)


def test_service_goes_on_after_a_kill(network: Network) -> None:
    """Killed without warning, a process leaves a hypervisor that serves; the next one finds its rules in place."""

    def agent() -> None:
        driver = network.start()
        network.enforce(driver, WEB)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=agent)
    process.start()
    process.join(TIMEOUT)
    assert process.exitcode == -signal.SIGKILL
    assert_serves(network)

    driver = network.start()
    repairs = network.enforce(driver, WEB)

    assert sorted(repairs) == ["Attached hypervisor_instance to tap1.", "Attached hypervisor_uplink to uplink0."]
    assert_serves(network)


def test_a_host_that_does_not_forward_is_named(network: Network) -> None:
    """Without ip_forward, or with strict rp_filter, all is put in place and the sysctl to change is named."""
    driver = network.start()
    network.inside("hypervisor", lambda: sysctl("ip_forward", "0"))
    with pytest.raises(SystemFailure, match=r"net\.ipv4\.ip_forward=1"):
        network.enforce(driver, WEB)
    network.inside("hypervisor", lambda: sysctl("ip_forward", "1"))
    assert network.enforce(driver, WEB) == ()

    network.inside("hypervisor", lambda: sysctl("conf/tap1/rp_filter", "1"))

    with pytest.raises(SystemFailure, match=r"net\.ipv4\.conf\.tap1\.rp_filter=2"):
        network.enforce(driver, WEB)


def test_a_missing_uplink_is_named(network: Network) -> None:
    """An uplink that does not exist stops the start, with the setting to correct."""
    network.ip("hypervisor", "link set uplink0 down")
    network.ip("hypervisor", "link set uplink0 name renamed0")

    with pytest.raises(SystemFailure, match="BASCULE_UPLINKS"):
        network.start()


def test_an_uplink_that_vanishes_takes_every_instance_out_of_place(network: Network) -> None:
    """Without its uplink the hypervisor reports no instance in place, instead of failing to report."""
    driver = network.driver(WEB)
    network.ip("hypervisor", "link del uplink0")

    assert network.inside("hypervisor", driver.observe).instances == frozenset()

"""What no LB node can carry is refused at once, with the field, who asks and which data planes have it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bascule.model.data_planes import CAPABILITIES
from tests.unit.api.installation import Installation, created, reference, service_body

Json = dict[str, Any]
SAME_PORT = {"port": 8080, "target-port": 8080}
RISE = {"mode": "tcp", "port": 80, "rise": 2}


def node(api: Installation, name: str, data_plane: str) -> str:
    """A new LB node's path."""
    agent = {"agent-url": "http://192.0.2.9:7701", "agent-token": "a-token-of-an-agent"}
    body = {"name": name, "data-plane": data_plane, **agent}
    return f"/admin/v1/lb-nodes/{created(api.operators.post('/admin/v1/lb-nodes', json=body))['id']}"


def refused(api: Installation, response: httpx.Response, field: str, status: int = 409) -> str:
    """The sentence of a refusal that names the field."""
    problem = response.json()
    assert (response.status_code, [one["field"] for one in problem["errors"]]) == (status, [field]), problem
    sentence: str = problem["detail"]
    return sentence


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"strategy": "wlc"}, "strategy"),
        ({"strategy": "leastconn"}, "strategy"),
        ({"forwarding-method": "translation"}, "forwarding-method"),
        ({"forwarding-method": "direct", **SAME_PORT}, "forwarding-method"),
        ({"persistence": {"timeout": 300}}, "persistence"),
    ],
    ids=str,
)
def test_what_no_node_can_carry_is_refused_until_one_can(api: Installation, change: Json, field: str) -> None:
    """Neither a new service nor a changed one; an LB node with IPVS makes both possible, a disabled one does not."""
    pool, load_balancer = api.pool(), api.load_balancer()
    service = api.service(load_balancer, pool, port=8080)
    path = f"/v2/load-balancer/{load_balancer}/service"
    before = api.rows()
    new = {**service_body(pool), **change, "port": change.get("port", 80)}
    for response in (
        api.users.post(path, json={**new, "protocol": "udp"}),
        api.users.put(f"{path}/{service}", json=change),
    ):
        sentence = refused(api, response, field)
        assert "ipvs" in sentence
        assert "run xdp" in sentence
    assert api.rows() == before
    other = node(api, "lb-2", "ipvs")
    reference(api.users.put(f"{path}/{service}", json=change))
    shown = api.users.get(f"{path}/{service}").json()
    assert shown[field] == ("wlc" if field == "strategy" else change[field])
    api.operators.put(other, json={"enabled": False})
    refused(api, api.users.post(path, json={**new, "protocol": "udp"}), field)
    # Who changes something else is not told of nodes that went away.
    reference(api.users.put(f"{path}/{service}", json={"name": "renamed"}))


def test_two_services_must_fit_on_one_node(api: Installation) -> None:
    """A load balancer is carried whole: keepalived's strategy and XDP's rise are nowhere together."""
    node(api, "lb-2", "keepalived")
    pool, load_balancer = api.pool(), api.load_balancer()
    api.service(load_balancer, pool, strategy="nq")
    path = f"/v2/load-balancer/{load_balancer}/service"
    body = {**service_body(pool), "port": 81, "healthcheck": RISE}
    sentence = refused(api, api.users.post(path, json=body), "healthcheck.rise")
    assert "strategy nq" in sentence
    node(api, "lb-3", "ipvs")
    reference(api.users.post(path, json=body))


def test_every_name_of_a_strategy_is_understood(api: Installation) -> None:
    """The answer has the canonical one."""
    pool, load_balancer = api.pool(), api.load_balancer()
    node(api, "lb-2", "ipvs")
    names = {"wrr": "round-robin", "sh": "source-hash", "mh": "maglev-hash", "rr": "rr", "leastconn": "wlc"}
    for port, (name, canonical) in enumerate(names.items(), start=1000):
        service = api.service(load_balancer, pool, port=port, strategy=name)
        shown = api.users.get(f"/v2/load-balancer/{load_balancer}/service/{service}").json()
        assert shown["strategy"] == canonical


def test_what_is_ours_is_left_out_of_ordinary_answers_and_can_be_reset(api: Installation) -> None:
    """An ordinary service looks like Exoscale's; persistence is shown while it is there."""
    node(api, "lb-2", "ipvs")
    load_balancer = api.load_balancer()
    path = f"/v2/load-balancer/{load_balancer}/service/{api.service(load_balancer, api.pool())}"
    ordinary = api.users.get(path).json()
    assert not {"forwarding-method", "persistence"} & ordinary.keys()
    wanted = {"timeout": 300, "prefix-length": 24}
    reference(api.users.put(path, json={"persistence": wanted, "forwarding-method": "translation"}))
    shown = api.users.get(path).json()
    assert (shown["persistence"], shown["forwarding-method"]) == (wanted, "translation")
    reference(api.users.put(path, json={"persistence": {"timeout": 60}, "forwarding-method": "tunnel"}))
    shown = api.users.get(path).json()
    assert shown["persistence"] == {"timeout": 60}
    assert "forwarding-method" not in shown
    reference(api.users.delete(f"{path}/persistence"))
    assert "persistence" not in api.users.get(path).json()


def test_a_node_tells_what_it_runs_and_can_be_corrected(api: Installation) -> None:
    """XDP without being told; the change is shown."""
    (first,) = api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"]
    assert first["data-plane"] == "xdp"
    path = f"/admin/v1/lb-nodes/{first['id']}"
    assert api.operators.put(path, json={"data-plane": "ipvs"}).json()["data-plane"] == "ipvs"
    assert api.operators.put(path, json={"name": "renamed"}).json()["data-plane"] == "ipvs"


def test_the_method_of_an_instance_must_suit_the_services_of_its_pool(api: Installation) -> None:
    """One that no node has, or that needs equal ports, is refused; "as-service" puts it back."""
    pool = api.pool()
    load_balancer = api.load_balancer()
    api.service(load_balancer, pool)
    member = api.operators.get(f"/admin/v1/instance-pools/{pool}").json()["instances"][0]["id"]
    path = f"/admin/v1/instance-pools/{pool}/instances"
    body = {"name": "x", "address": "10.8.0.1", "hypervisor": "hv-1", "forwarding-method": "translation"}
    refused(api, api.operators.post(path, json=body), "forwarding-method")
    node(api, "lb-2", "ipvs")
    changed = api.operators.put(f"{path}/{member}", json={"forwarding-method": "translation"}).json()
    assert changed["instances"][0]["forwarding-method"] == "translation"
    refused(api, api.operators.put(f"{path}/{member}", json={"forwarding-method": "direct"}), "forwarding-method", 400)
    changed = api.operators.put(f"{path}/{member}", json={"forwarding-method": "as-service"}).json()
    assert changed["instances"][0]["forwarding-method"] is None


def test_a_range_of_ipv6_gives_elastic_ips_of_it(api: Installation) -> None:
    """The lowest free one of a /64 at once, in Exoscale's shape; IPv4 for who does not say."""
    created(api.operators.post("/admin/v1/address-pools", json={"name": "six", "network": "2001:db8::/64"}))
    held = reference(api.users.post("/v2/elastic-ip", json={"addressfamily": "inet6"}))
    shown = api.users.get(f"/v2/elastic-ip/{held}").json()
    assert (shown["ip"], shown["addressfamily"], shown["cidr"]) == ("2001:db8::", "inet6", "2001:db8::/128")
    other = reference(api.users.post("/v2/elastic-ip", json={}))
    assert api.users.get(f"/v2/elastic-ip/{other}").json()["addressfamily"] == "inet4"
    both = {"ip": "2001:db8::5", "addressfamily": "inet4"}
    refused(api, api.users.post("/v2/elastic-ip", json=both), "addressfamily", 400)


def test_a_load_balancer_of_ipv6_comes_with_a_node_that_carries_it(api: Installation) -> None:
    """Refused on the address while no enabled node's data plane has the family; then served by its own family only."""
    created(api.operators.post("/admin/v1/address-pools", json={"name": "six", "network": "2001:db8::/64"}))
    able = [name for name, has in CAPABILITIES.items() if 6 in has.families]
    wanted = {"name": "six", "addressfamily": "inet6"}
    if "xdp" not in able:
        refused(api, api.users.post("/v2/load-balancer", json=wanted), "ip")
    if not able:
        return
    node(api, "lb-6", able[0])
    load_balancer = reference(api.users.post("/v2/load-balancer", json=wanted))
    assert api.users.get(f"/v2/load-balancer/{load_balancer}").json()["ip"] == "2001:db8::"
    path = f"/v2/load-balancer/{load_balancer}/service"
    four, six = api.pool(), api.pool(members=0)
    refused(api, api.users.post(path, json=service_body(four)), "instance-pool.id", 400)
    member = {"name": "a", "address": "2001:db8:1::1", "hypervisor": "hv-1"}
    created(api.operators.post(f"/admin/v1/instance-pools/{six}/instances", json=member))
    reference(api.users.post(path, json=service_body(six)))


def test_a_pool_of_the_other_family_serves_no_load_balancer(api: Installation) -> None:
    """Every member has an IPv6 address, the load balancer an IPv4 one; an empty pool says nothing yet."""
    pool, empty = api.pool(members=0), api.pool(members=0)
    member = {"name": "a", "address": "2001:db8:1::1", "hypervisor": "hv-1"}
    created(api.operators.post(f"/admin/v1/instance-pools/{pool}/instances", json=member))
    path = f"/v2/load-balancer/{api.load_balancer()}/service"
    assert "IPv4" in refused(api, api.users.post(path, json=service_body(pool)), "instance-pool.id", 400)
    reference(api.users.post(path, json=service_body(empty)))

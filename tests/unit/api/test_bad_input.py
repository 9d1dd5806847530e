"""Bad input is refused at the edge: the field is named and nothing is half done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.installation import Installation, service_body

UNKNOWN = "00000000-0000-4000-8000-000000000000"
LONG = "x" * 256
Change = dict[str, Any]

LOAD_BALANCERS: list[tuple[Change, str]] = [
    ({"name": None}, "name"),
    ({"name": ""}, "name"),
    ({"name": " "}, "name"),
    ({"name": 7}, "name"),
    ({"name": True}, "name"),
    ({"name": LONG}, "name"),
    ({"name": "we\nb"}, "name"),
    ({"name": "we\x00b"}, "name"),
    ({"name": "we\u2028b"}, "name"),
    ({"description": LONG}, "description"),
    ({"description": 1}, "description"),
    ({"labels": []}, "labels"),
    ({"labels": {"team": 1}}, "labels.team"),
    ({"labels": {"team": LONG}}, "labels.team"),
    ({"labels": {"": "x"}}, "labels."),
    ({"labels": {str(number): "" for number in range(65)}}, "labels"),
    ({"ip": 3221225985}, "ip"),
    ({"ip": "192.0.2"}, "ip"),
    ({"ip": "2001:db8::1"}, "ip"),
    ({"ip": "198.51.100.1"}, "ip"),
    ({"ip": "fe80::1%eth0"}, "ip"),
    ({"ip": "::ffff:192.0.2.1"}, "ip"),
    ({"addressfamily": "inet"}, "addressfamily"),
    ({"addressfamily": 6}, "addressfamily"),
    ({"addressfamily": "inet6", "ip": "192.0.2.1"}, "addressfamily"),
    ({"node-count": 0}, "node-count"),
    ({"node-count": 65}, "node-count"),
    ({"node-count": "2"}, "node-count"),
    ({"affinity": ["net"]}, "affinity"),
    ({"affinity": {"net": 10}}, "affinity.net"),
    ({"anti-affinity": LONG}, "anti-affinity"),
    ({"anti-affinity": ["a"]}, "anti-affinity"),
    ({"anti-affinity": "a\nb"}, "anti-affinity"),
    ({"colour": "red"}, "colour"),
    ({"hash_seed": 1}, "hash_seed"),
]

SERVICES: list[tuple[Change, str]] = [
    ({"port": 0}, "port"),
    ({"port": 65536}, "port"),
    ({"port": "80"}, "port"),
    ({"port": True}, "port"),
    ({"port": 80.5}, "port"),
    ({"target-port": -1}, "target-port"),
    ({"target_port": 80}, "target_port"),
    ({"protocol": "sctp"}, "protocol"),
    ({"strategy": "random"}, "strategy"),
    ({"strategy": "WLC"}, "strategy"),
    ({"strategy": 1}, "strategy"),
    ({"forwarding-method": "local"}, "forwarding-method"),
    ({"forwarding-method": "nat"}, "forwarding-method"),
    ({"forwarding-method": None}, "forwarding-method"),
    ({"forwarding-method": "direct"}, "target-port"),
    ({"persistence": 300}, "persistence"),
    ({"persistence": {}}, "persistence.timeout"),
    ({"persistence": {"timeout": 0}}, "persistence.timeout"),
    ({"persistence": {"timeout": 31 * 86_400 + 1}}, "persistence.timeout"),
    ({"persistence": {"timeout": "300"}}, "persistence.timeout"),
    ({"persistence": {"timeout": 300, "prefix-length": -1}}, "persistence.prefix-length"),
    ({"persistence": {"timeout": 300, "prefix-length": 33}}, "persistence.prefix-length"),
    ({"persistence": {"timeout": 300, "prefix-length": 129}}, "persistence.prefix-length"),
    ({"persistence": {"timeout": 300, "netmask": "255.255.255.0"}}, "persistence.netmask"),
    ({"hash-source-port": "no"}, "hash-source-port"),
    ({"instance-pool": UNKNOWN}, "instance-pool"),
    ({"instance-pool": {}}, "instance-pool.id"),
    ({"instance-pool": {"id": "front"}}, "instance-pool.id"),
    ({"instance-pool": {"id": UNKNOWN}}, "instance-pool.id"),
    ({"healthcheck": None}, "healthcheck"),
]

HEALTH_CHECKS: list[tuple[Change, str]] = [
    ({"mode": "icmp", "port": 80}, "mode"),
    ({"port": 80}, "mode"),
    ({"mode": "tcp"}, "port"),
    ({"mode": "tcp", "port": 0}, "port"),
    ({"mode": "tcp", "port": 80, "interval": 0}, "interval"),
    ({"mode": "tcp", "port": 80, "interval": 301}, "interval"),
    ({"mode": "tcp", "port": 80, "timeout": 0}, "timeout"),
    ({"mode": "tcp", "port": 80, "timeout": 61, "interval": 300}, "timeout"),
    ({"mode": "tcp", "port": 80, "timeout": 6, "interval": 5}, "timeout"),
    ({"mode": "tcp", "port": 80, "retries": 21}, "retries"),
    ({"mode": "tcp", "port": 80, "uri": "/"}, "uri"),
    ({"mode": "http", "port": 80}, "uri"),
    ({"mode": "http", "port": 80, "uri": "status"}, "uri"),
    ({"mode": "http", "port": 80, "uri": "/a b"}, "uri"),
    ({"mode": "http", "port": 80, "uri": "/a\r\nHost: x"}, "uri"),
    ({"mode": "http", "port": 80, "uri": "/", "tls-sni": "example.net"}, "tls-sni"),
    ({"mode": "https", "port": 443, "uri": "/", "tls-sni": "-example"}, "tls-sni"),
    ({"mode": "https", "port": 443, "uri": "/", "tls-sni": "a b"}, "tls-sni"),
]

TCP: Change = {"mode": "tcp", "port": 80}
WEB: Change = {"mode": "http", "port": 80, "uri": "/"}
OPTIONS: list[tuple[Change, str]] = [
    ({**TCP, "retry-interval": 0}, "retry-interval"),
    ({**TCP, "retry-interval": 1.5}, "retry-interval"),
    ({**TCP, "rise": 0}, "rise"),
    ({**TCP, "rise": 21}, "rise"),
    ({**TCP, "rise": "2"}, "rise"),
    ({**TCP, "warm-up": -1}, "warm-up"),
    ({**TCP, "warm-up": None}, "warm-up"),
    ({**TCP, "warm_up": 1}, "warm_up"),
    ({**TCP, "on-failure": "drop"}, "on-failure"),
    ({**TCP, "quorum": 0}, "quorum"),
    ({**TCP, "quorum": 10**30}, "quorum"),
    ({**TCP, "quorum": True}, "quorum"),
    ({**TCP, "hysteresis": 1}, "hysteresis"),
    ({**TCP, "quorum": 3, "hysteresis": 3}, "hysteresis"),
    ({**TCP, "sorry-server": "127.0.0.1"}, "sorry-server"),
    ({**TCP, "sorry-server": "10.0.0.99"}, "sorry-server"),
    ({**TCP, "sorry-server": 1}, "sorry-server"),
    ({**TCP, "sorry-server": "2001:db8::1"}, "sorry-server"),
    ({**TCP, "body-pattern": "OK"}, "body-pattern"),
    ({**TCP, "tls-verify": True}, "tls-verify"),
    ({**TCP, "host": "a.example"}, "host"),
    ({**WEB, "tls-verify": True}, "tls-verify"),
    ({**WEB, "tls-verify": 1}, "tls-verify"),
    ({**WEB, "status-codes": ""}, "status-codes"),
    ({**WEB, "status-codes": "200-"}, "status-codes"),
    ({**WEB, "status-codes": "299-200"}, "status-codes"),
    ({**WEB, "status-codes": "99"}, "status-codes"),
    ({**WEB, "status-codes": "200\n"}, "status-codes"),
    ({**WEB, "status-codes": 200}, "status-codes"),
    ({**WEB, "body-pattern": ""}, "body-pattern"),
    ({**WEB, "body-pattern": "("}, "body-pattern"),
    ({**WEB, "body-pattern": "(?=x)"}, "body-pattern"),
    ({**WEB, "body-pattern": r"(a)\1"}, "body-pattern"),
    ({**WEB, "body-pattern": "((a{100}){100}){100}"}, "body-pattern"),
    ({**WEB, "body-pattern": "a\nb"}, "body-pattern"),
    ({**WEB, "body-pattern": LONG}, "body-pattern"),
    ({**WEB, "body-digest": "abc"}, "body-digest"),
    ({**WEB, "body-digest": "g" * 64}, "body-digest"),
    ({**WEB, "host": "a.example\r\nX: y"}, "host"),
    ({**WEB, "host": 'a"b'}, "host"),
    ({"mode": "smtp", "port": 25, "smtp-helo": "x y"}, "smtp-helo"),
    ({"mode": "smtp", "port": 25, "smtp-helo": "x\r\nMAIL FROM:<y>"}, "smtp-helo"),
    ({"mode": "smtp", "port": 25, "uri": "/"}, "uri"),
    ({"mode": "dns", "port": 53, "dns-name": "a..b"}, "dns-name"),
    ({"mode": "dns", "port": 53, "dns-name": "a b"}, "dns-name"),
    ({"mode": "dns", "port": 53, "dns-name": "x" * 64}, "dns-name"),
    ({"mode": "dns", "port": 53, "dns-type": "ANY"}, "dns-type"),
    ({"mode": "dns", "port": 53, "dns-type": "TYPE99999"}, "dns-type"),
    ({"mode": "dns", "port": 53, "dns-answer": "yes"}, "dns-answer"),
    ({"mode": "udp", "port": 53, "udp-payload": "abc"}, "udp-payload"),
    ({"mode": "udp", "port": 53, "udp-payload": ""}, "udp-payload"),
    ({"mode": "udp", "port": 53, "udp-reply": "0x41"}, "udp-reply"),
    ({"mode": "udp", "port": 53, "udp-reply": "00" * 513}, "udp-reply"),
    ({"mode": "script", "port": 80}, "script"),
    ({"mode": "script", "port": 80, "script": "../../bin/sh"}, "script"),
    ({"mode": "script", "port": 80, "script": "/bin/sh"}, "script"),
    ({"mode": "script", "port": 80, "script": ".."}, "script"),
    ({"mode": "script", "port": 80, "script": "check\n"}, "script"),
    ({"mode": "script", "port": 80, "script": "$(reboot)"}, "script"),
    ({"mode": "script", "port": 80, "script": "check;reboot"}, "script"),
    ({"mode": "script", "port": 80, "script": ""}, "script"),
    ({**TCP, "script": "check"}, "script"),
    ({**TCP, "script-weight": True}, "script-weight"),
]

AGENT = {"name": "lb-2", "agent-url": "http://192.0.2.2:7701", "agent-token": "a-token-of-an-agent"}
OPERATORS: list[tuple[str, Change, str]] = [
    ("lb-nodes", {**AGENT, "agent-url": "ftp://192.0.2.2"}, "agent-url"),
    ("lb-nodes", {**AGENT, "agent-url": "http://"}, "agent-url"),
    ("lb-nodes", {**AGENT, "agent-url": "http://a:99999"}, "agent-url"),
    ("lb-nodes", {**AGENT, "agent-url": "http://["}, "agent-url"),
    ("lb-nodes", {**AGENT, "agent-token": "short"}, "agent-token"),
    ("lb-nodes", {**AGENT, "agent-token": "with spaces in the middle"}, "agent-token"),
    ("lb-nodes", {**AGENT, "enabled": 1}, "enabled"),
    ("lb-nodes", {**AGENT, "data-plane": "fake"}, "data-plane"),
    ("lb-nodes", {**AGENT, "data-plane": None}, "data-plane"),
    ("lb-nodes", {**AGENT, "data_plane": "xdp"}, "data_plane"),
    ("hypervisors", {**AGENT, "failure-domain": ""}, "failure-domain"),
    ("address-pools", {"name": "x", "network": "192.0.2.1/24"}, "network"),
    ("address-pools", {"name": "x", "network": 24}, "network"),
    ("address-pools", {"name": "x", "network": "0.0.0.0/0"}, "network"),
    ("address-pools", {"name": "x", "network": "224.0.0.0/24"}, "network"),
    ("address-pools", {"name": "x", "network": "127.0.0.0/24"}, "network"),
    ("address-pools", {"name": "x", "network": "2001:db8::1/64"}, "network"),
    ("address-pools", {"name": "x", "network": "2001::/16"}, "network"),
    ("address-pools", {"name": "x", "network": "::/0"}, "network"),
    ("address-pools", {"name": "x", "network": "fe80::/64"}, "network"),
    ("address-pools", {"name": "x", "network": "ff02::/64"}, "network"),
    ("address-pools", {"name": "x", "network": "::1/128"}, "network"),
    ("address-pools", {"name": "x", "network": "::ffff:192.0.2.0/120"}, "network"),
    ("address-pools", {"name": "x", "network": "2001:db8::%1/64"}, "network"),
    ("instance-pools", {"name": "x", "size": 0}, "size"),
    ("api-keys", {}, "name"),
    ("load-balancers:reconcile", {"ids": [UNKNOWN]}, "ids"),
    ("load-balancers:reconcile", {"ids": ["web"]}, "ids.0"),
]


@pytest.mark.parametrize(("change", "field"), LOAD_BALANCERS, ids=str)
def test_a_bad_load_balancer_is_refused(api_at_rest: Installation, change: Change, field: str) -> None:
    """The answer is 400 and names the field, and no row was written."""
    _refused(api_at_rest, "/v2/load-balancer", {"name": "web", **change}, field)


@pytest.mark.parametrize(("change", "field"), SERVICES, ids=str)
def test_a_bad_service_is_refused(api_at_rest: Installation, change: Change, field: str) -> None:
    """The answer is 400 and names the field, and no row was written."""
    path = f"/v2/load-balancer/{api_at_rest.load_balancer()}/service"
    _refused(api_at_rest, path, {**service_body(api_at_rest.pool()), **change}, field)


@pytest.mark.parametrize(("check", "field"), HEALTH_CHECKS + OPTIONS, ids=ascii)
def test_a_bad_health_check_is_refused(api_at_rest: Installation, check: Change, field: str) -> None:
    """The answer is 400 and names the field inside the health check, and no row was written."""
    path = f"/v2/load-balancer/{api_at_rest.load_balancer()}/service"
    _refused(api_at_rest, path, {**service_body(api_at_rest.pool()), "healthcheck": check}, f"healthcheck.{field}")


@pytest.mark.parametrize(("path", "body", "field"), OPERATORS, ids=str)
def test_bad_input_of_operators_is_refused(api_at_rest: Installation, path: str, body: Change, field: str) -> None:
    """Operators are told the field too, and no row was written."""
    before = api_at_rest.rows()
    response = api_at_rest.operators.post(f"/admin/v1/{path}", json=body)
    assert (response.status_code, [one["field"] for one in response.json()["errors"]]) == (400, [field])
    assert api_at_rest.rows() == before


STRANGE = ["::1", "::", "ff02::1", "fe80::1", "fe80::1%1", "2001:db8::1%1", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255", "10.0.0", 1, *STRANGE])
def test_an_instance_needs_the_address_of_a_machine(api_at_rest: Installation, address: object) -> None:
    """Loopback, multicast and reserved addresses are refused, and no row was written."""
    path = f"/admin/v1/instance-pools/{api_at_rest.pool(members=0)}/instances"
    before = api_at_rest.rows()
    response = api_at_rest.operators.post(path, json={"name": "x", "address": address, "hypervisor": "hv-1"})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "address")
    assert api_at_rest.rows() == before


@pytest.mark.parametrize("method", ["local", "as-service", "", 1, None])
def test_an_instance_takes_a_method_of_forwarding_that_can_be_asked_for(
    api_at_rest: Installation, method: object
) -> None:
    """`local` is what LB nodes see by themselves, and a new instance has nothing to be put back."""
    path = f"/admin/v1/instance-pools/{api_at_rest.pool(members=0)}/instances"
    before = api_at_rest.rows()
    body = {"name": "x", "address": "10.7.0.1", "hypervisor": "hv-1", "forwarding-method": method}
    response = api_at_rest.operators.post(path, json=body)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "forwarding-method")
    assert api_at_rest.rows() == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"web"', b"\xff", b"[" * 30_000, b'{"name":' + b"9" * 5000 + b"}"])
def test_a_body_that_is_no_json_object_is_refused(api_at_rest: Installation, body: bytes) -> None:
    """Whatever the bytes are, the answer is a 400 problem."""
    before = api_at_rest.rows()
    response = api_at_rest.users.post("/v2/load-balancer", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert api_at_rest.rows() == before


def test_every_wrong_field_is_named_at_once(api_at_rest: Installation) -> None:
    """A user who got three fields wrong is told of three."""
    body = {**service_body(api_at_rest.pool()), "port": "80", "protocol": "x", "colour": "red"}
    response = api_at_rest.users.post(f"/v2/load-balancer/{api_at_rest.load_balancer()}/service", json=body)
    assert {one["field"] for one in response.json()["errors"]} == {"port", "protocol", "colour"}


def test_a_body_over_the_limit_is_refused(api_at_rest: Installation) -> None:
    """More than 64 KiB is not read."""
    response = api_at_rest.users.post("/v2/load-balancer", json={"name": "web", "description": "x" * 65_536})
    assert (response.status_code, response.json()["code"]) == (413, "too-large")


def _refused(api: Installation, path: str, body: Change, field: str) -> None:
    before = api.rows()
    response = api.users.post(path, json=body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "invalid-input"), problem
    assert [one["field"] for one in problem["errors"]] == [field]
    assert problem["message"] == problem["detail"]
    assert api.rows() == before

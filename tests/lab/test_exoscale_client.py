"""The client library of the public API we are compatible with works against a real lab."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from exoscale.api.v2 import Client

from bascule.lab import traffic
from bascule.lab.state import Lab
from bascule.lab.traffic import Target
from bascule.lab.waiting import wait_until
from bascule.model.strategies import Protocol

pytestmark = pytest.mark.lab
_CHECK = {"mode": "http", "port": 8080, "uri": "/healthz", "interval": 5, "timeout": 2, "retries": 1}


def test_their_client_works_here(lab: Lab) -> None:
    """A load balancer created, served, listed and deleted with the public API's own client library."""
    client = Client(lab.api_key, lab.api_secret, url=f"{lab.api_url}/v2")
    created = client.wait(client.create_load_balancer(name="theirs")["id"])["reference"]["id"]
    client.wait(
        client.add_service_to_load_balancer(
            id=created,
            name="web",
            protocol="tcp",
            port=443,
            target_port=8080,
            strategy="round-robin",
            instance_pool={"id": lab.instance_pools[4]},
            healthcheck=_CHECK,
        )["id"]
    )
    [found] = [each for each in client.list_load_balancers()["load-balancers"] if each["id"] == created]
    target = Target(Protocol.TCP, ip_address(found["ip"]), 443)
    wait_until(lambda: not traffic.send(lab, target, 32).failures, what="An answer of every connection")
    client.wait(client.delete_load_balancer(id=created)["id"])
    assert created not in {each["id"] for each in client.list_load_balancers()["load-balancers"]}

"""Tell a new lab's control plane what it owns: nodes, addresses, instances. Speaks the admin API like any operator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx

from bascule.lab.roster import agent_url
from bascule.lab.state import Lab
from bascule.lab.topology import VIPS, Role
from bascule.model.errors import SystemFailure

POOL = "web"
# One instance stands by, so that there is something to scale up to.
_SPARE = 1


def register(lab: Lab) -> Lab:
    """Register everything; returns the lab with its API key and the pool's id."""
    headers = {"Authorization": f"Bearer {lab.admin_token}"}
    with httpx.Client(base_url=f"{lab.api_url}/admin/v1", headers=headers, trust_env=False, timeout=10) as admin:
        for host in lab.topology.of_role(Role.LB_NODE):
            _post(admin, "/lb-nodes", _node(lab, host.name) | {"failure-domain": f"rack-{host.name}"})
        hypervisors = {
            host.name: _post(admin, "/hypervisors", _node(lab, host.name))["id"]
            for host in lab.topology.of_role(Role.HYPERVISOR)
        }
        _post(admin, "/address-pools", {"name": "public", "network": str(VIPS)})
        pool = _register_instances(admin, lab, hypervisors)
        key = _post(admin, "/api-keys", {"name": "lab"})
    return replace(lab, api_key=key["key"], api_secret=key["secret"], instance_pool_id=pool)


def _register_instances(admin: httpx.Client, lab: Lab, hypervisors: dict[str, str]) -> str:
    instances = lab.topology.of_role(Role.INSTANCE)
    pool: str = _post(admin, "/instance-pools", {"name": POOL, "size": max(1, len(instances) - _SPARE)})["id"]
    for host in instances:
        body = {"name": host.name, "address": str(host.address), "hypervisor-id": hypervisors[host.uplink], "weight": 1}
        _post(admin, f"/instance-pools/{pool}/instances", body)
    return pool


def _node(lab: Lab, name: str) -> dict[str, Any]:
    return {"name": name, "agent-url": agent_url(lab.topology.host(name)), "agent-token": lab.agent_tokens[name]}


def _post(admin: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = admin.post(path, json=body)
    if answer.is_error:
        raise SystemFailure(f"The lab's API refused POST {path}: {answer.text}")
    created: dict[str, Any] = answer.json()
    return created

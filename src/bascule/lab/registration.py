"""Tell a new lab's control plane what it owns: nodes, addresses, instances. Speaks the admin API like any operator."""

from __future__ import annotations

from dataclasses import replace

from bascule.client.clients import AdminClient
from bascule.lab.roster import agent_url
from bascule.lab.state import Lab
from bascule.lab.topology import VIPS, Role

# By family: an instance is registered with one address, and a pool of one family is scaled by whole machines.
POOLS = {4: "web", 6: "web-ipv6"}
ADDRESS_POOLS = {4: "public", 6: "public-ipv6"}
# One instance stands by, so that there is something to scale up to.
_SPARE = 1


def register(lab: Lab) -> Lab:
    """Register everything; returns the lab with its API key and the pools' identifiers."""
    with AdminClient(lab.api_url, lab.admin_token) as admin:
        for host in lab.topology.of_role(Role.LB_NODE):
            admin.lb_nodes.create(
                name=host.name,
                agent_url=agent_url(host),
                agent_token=lab.agent_tokens[host.name],
                failure_domain=f"rack-{host.name}",
                data_plane=lab.shape.dataplane,
            )
        for host in lab.topology.of_role(Role.HYPERVISOR):
            admin.hypervisors.create(name=host.name, agent_url=agent_url(host), agent_token=lab.agent_tokens[host.name])
        for family in lab.shape.families:
            admin.address_pools.create(name=ADDRESS_POOLS[family], network=VIPS[family])
        pools = {family: _instance_pool(lab, admin, family) for family in lab.shape.families}
        key = admin.api_keys.create(name="lab")
    return replace(lab, api_key=key.key, api_secret=key.secret, instance_pools=pools)


def _instance_pool(lab: Lab, admin: AdminClient, family: int) -> str:
    instances = lab.topology.of_role(Role.INSTANCE)
    pool = admin.instance_pools.create(name=POOLS[family], size=max(1, len(instances) - _SPARE))
    for host in instances:
        address = host.addresses[family]
        admin.instance_pools.register(pool.id, name=host.name, address=address, hypervisor=host.uplink)
    return str(pool.id)

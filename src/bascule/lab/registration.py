"""Tell a new lab's control plane what it owns: nodes, addresses, instances. Speaks the admin API like any operator."""

from __future__ import annotations

from dataclasses import replace

from bascule.client.clients import AdminClient
from bascule.lab.roster import agent_url
from bascule.lab.state import Lab
from bascule.lab.topology import VIPS, Role

POOL = "web"
# One instance stands by, so that there is something to scale up to.
_SPARE = 1


def register(lab: Lab) -> Lab:
    """Register everything; returns the lab with its API key and the pool's id."""
    with AdminClient(lab.api_url, lab.admin_token) as admin:
        for host in lab.topology.of_role(Role.LB_NODE):
            admin.lb_nodes.create(
                name=host.name,
                agent_url=agent_url(host),
                agent_token=lab.agent_tokens[host.name],
                failure_domain=f"rack-{host.name}",
            )
        for host in lab.topology.of_role(Role.HYPERVISOR):
            admin.hypervisors.create(name=host.name, agent_url=agent_url(host), agent_token=lab.agent_tokens[host.name])
        admin.address_pools.create(name="public", network=VIPS)
        instances = lab.topology.of_role(Role.INSTANCE)
        pool = admin.instance_pools.create(name=POOL, size=max(1, len(instances) - _SPARE))
        for host in instances:
            admin.instance_pools.register(pool.id, name=host.name, address=host.address, hypervisor=host.uplink)
        key = admin.api_keys.create(name="lab")
    return replace(lab, api_key=key.key, api_secret=key.secret, instance_pool_id=str(pool.id))

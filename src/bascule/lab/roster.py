"""Which programs run where, with which arguments and settings. Pure; `processes` starts them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from bascule.lab.servers import KAFKA_PORT, kafka_command, postgresql_command, postgresql_url
from bascule.lab.shape import TUNNEL_SOURCE, TUNNEL_SOURCE_V6, DatabaseKind, EventsFrom
from bascule.lab.state import Lab
from bascule.lab.topology import AGENT_PORT, INSTANCE_PORT, LB_AS, ROUTER_AS, UPLINK, Host, Role
from bascule.model.addresses import IPAddress

# The API runs outside every namespace, so that a browser and the command line reach it.
OUTSIDE = ""
_TUNNEL_HEADER = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process to run. `host` is OUTSIDE for those that run in no namespace of the lab."""

    host: str
    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Unique within the lab."""
        return f"{self.host}-{self.name}" if self.host else self.name


def roster(lab: Lab) -> tuple[Program, ...]:
    """Every program of the lab."""
    programs = [router_program(lab), *(instance_program(host) for host in lab.topology.of_role(Role.INSTANCE))]
    if not lab.hosts_only:
        programs += server_programs(lab)
        programs.append(api_program(lab))
        programs += (orchestrator_program(lab, number) for number in range(1, lab.shape.orchestrators + 1))
        programs += (agent_program(lab, host.name) for host in lab.topology.of_role(Role.LB_NODE))
        programs += (agent_program(lab, host.name) for host in lab.topology.of_role(Role.HYPERVISOR))
    return tuple(programs)


def router_program(lab: Lab) -> Program:
    """BIRD at the router."""
    folder = lab.folder("router")
    files = ("-c", f"{folder}/bird.conf", "-s", f"{folder}/bird.ctl", "-P", f"{folder}/bird.pid")
    return Program(host="router", name="bird", command=("/usr/sbin/bird", "-f", *files))


def instance_program(host: Host) -> Program:
    """The server of one instance."""
    addresses = map(str, host.addresses.values())
    command = (*_module("bascule.lab.instance_server"), host.name, str(INSTANCE_PORT), *addresses)
    return Program(host=host.name, name="server", command=command)


def agent_program(lab: Lab, node: str) -> Program:
    """The agent of one LB node or hypervisor."""
    host = lab.topology.host(node)
    folder = lab.folder(node)
    environment = {
        # Data planes name things after it that all labs of a machine would share.
        "BASCULE_NODE_NAME": f"{lab.name}-{node}",
        "BASCULE_AGENT_LISTEN": f"{host.address}:{AGENT_PORT}",
        "BASCULE_AGENT_TOKEN": lab.agent_tokens[node],
        "BASCULE_STATE_DIR": f"{folder}/state",
        "BASCULE_BPF_DIR": f"{folder}/bpf",
        "BASCULE_REGISTERED_NAME": node,
    }
    if host.role is Role.LB_NODE:
        module, more = "bascule.programs.lb_agent", _lb_settings(lab, host)
    else:
        module, more = "bascule.programs.hypervisor_agent", _hypervisor_settings(lab)
    return Program(host=node, name="agent", command=_module(module), environment=environment | more | _events(lab))


def server_programs(lab: Lab) -> tuple[Program, ...]:
    """What the control plane needs to start: a database and a broker, where the lab's shape asks for them."""
    programs = []
    if lab.shape.database is DatabaseKind.POSTGRESQL:
        programs.append(Program(host="control", name="postgresql", command=postgresql_command(postgresql_folder(lab))))
    if lab.shape.events is EventsFrom.KAFKA:
        programs.append(Program(host="control", name="kafka", command=kafka_command(kafka_server(lab))))
    return tuple(programs)


def orchestrator_program(lab: Lab, number: int = 1) -> Program:
    """An orchestrator, in the namespace that reaches the agents."""
    title = "" if number == 1 else str(number)
    return Program(
        host="control",
        name=f"orchestrator{title}",
        command=_module("bascule.programs.orchestrator"),
        environment=_database(lab)
        | _events(lab)
        | {
            "BASCULE_WORKER_NAME": f"lab-{lab.name}{title}",
            "BASCULE_AUDIT_INTERVAL": "5",
            "BASCULE_REPLACE_AFTER": str(lab.shape.replace_after),
        },
    )


def api_program(lab: Lab) -> Program:
    """The API; it shares the orchestrator's database and needs no agent."""
    settings = {"BASCULE_API_LISTEN": f"127.0.0.1:{lab.api_port}", "BASCULE_ADMIN_TOKEN": lab.admin_token}
    return Program(
        host=OUTSIDE,
        name="api",
        command=_module("bascule.programs.api"),
        environment=_database(lab) | settings | {"BASCULE_PUBLIC_URL": lab.api_url},
    )


def agent_url(host: Host) -> str:
    """Where the control plane finds a node's agent."""
    return f"http://{host.address}:{AGENT_PORT}"


def postgresql_folder(lab: Lab) -> Path:
    """Where PostgreSQL's data and its socket are."""
    return lab.folder("postgresql")


def kafka_server(lab: Lab) -> str:
    """Where the broker answers."""
    return f"{lab.topology.host('control').address}:{KAFKA_PORT}"


def _database(lab: Lab) -> dict[str, str]:
    if lab.shape.database is DatabaseKind.POSTGRESQL:
        return {"BASCULE_DATABASE_URL": postgresql_url(postgresql_folder(lab))}
    return {"BASCULE_DATABASE_URL": f"sqlite:///{lab.directory}/bascule.db"}


def _events(lab: Lab) -> dict[str, str]:
    return {"BASCULE_KAFKA_SERVERS": kafka_server(lab)} if lab.shape.events is EventsFrom.KAFKA else {}


def _lb_settings(lab: Lab, host: Host) -> dict[str, str]:
    nodes = (each for node in lab.topology.of_role(Role.LB_NODE) for each in node.addresses.values())
    return {
        "BASCULE_ANNOUNCER": lab.shape.announcer.value,
        "BASCULE_VRRP_NODES": " ".join(map(str, nodes)),
        "BASCULE_DATAPLANE": lab.shape.dataplane.value,
        "BASCULE_INTERFACES": UPLINK,
        "BASCULE_TUNNEL_SOURCE": str(TUNNEL_SOURCE),
        "BASCULE_TUNNEL_SOURCE_V6": str(TUNNEL_SOURCE_V6),
        "BASCULE_RUN_DIR": f"{lab.folder(host.name)}/run",
        "BASCULE_BGP_LOCAL_AS": str(LB_AS),
        "BASCULE_BGP_ROUTER_ID": str(host.address),
        "BASCULE_BGP_NEIGHBORS": " ".join(f"{router}/{ROUTER_AS}" for router in _routers(host)),
        "BASCULE_BFD_INTERVAL_MS": str(lab.shape.bfd.interval_ms),
        "BASCULE_BFD_MULTIPLIER": str(lab.shape.bfd.multiplier),
    }


def _routers(host: Host) -> list[IPAddress]:
    """The next hops of an LB node's default routes."""
    return [route.gateway for route in host.routes if route.gateway and not route.destination.prefixlen]


def _hypervisor_settings(lab: Lab) -> dict[str, str]:
    return {
        "BASCULE_FORWARDING": lab.shape.forwarding,
        "BASCULE_UPLINKS": UPLINK,
        "BASCULE_TUNNEL_SOURCES": " ".join(map(str, lab.shape.tunnel_sources)),
        "BASCULE_TUNNEL_MTU": str(lab.shape.underlay_mtu - _TUNNEL_HEADER),
    }


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)

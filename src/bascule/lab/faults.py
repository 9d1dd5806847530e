"""What goes wrong in a data centre, on demand: each fault is done to one host and can be repaired."""

from __future__ import annotations

import signal

import httpx

from bascule.lab import network, processes
from bascule.lab.network import namespace
from bascule.lab.readiness import wait_for_agent, wait_for_programs
from bascule.lab.roster import Program, agent_program, orchestrator_program, server_programs
from bascule.lab.state import Lab
from bascule.lab.topology import INSTANCE_PORT, UPLINK
from bascule.model.errors import SystemFailure
from bascule.system.commands import run
from bascule.system.namespaces import call_in

_BFD_PORT = "3784"  # RFC 5881


def kill(lab: Lab, title: str) -> None:
    """Kill (9) a process of the lab: `lb1-agent`, `control-orchestrator`, `vm1-server`, `router-bird`, `api`,
    `control-kafka`."""
    processes.kill(processes.find(lab, title))


def restart_agent(lab: Lab, node: str) -> None:
    """Start the agent of a node again, and wait until it answers."""
    _start_once(lab, agent_program(lab, node))
    wait_for_agent(lab, node)


def restart_orchestrator(lab: Lab, number: int = 1) -> None:
    """Start an orchestrator again."""
    _start_once(lab, orchestrator_program(lab, number))


def stop_database(lab: Lab) -> None:
    """Stop PostgreSQL as if its machine lost power: connections break at once, and nobody answers new ones."""
    # Its own word for that (SIGQUIT); a kill -9 of its first process would leave the others to notice.
    processes.end(processes.find(lab, "control-postgresql"), signal.SIGQUIT)


def restart_servers(lab: Lab) -> None:
    """Start the database and the broker again where they do not run, and wait until they answer."""
    for program in server_programs(lab):
        _start_once(lab, program)
    wait_for_programs(lab, server_programs(lab))


def pull_cable(lab: Lab, node: str) -> None:
    """Take a node off the network."""
    network.set_link(lab.name, node, UPLINK, up=False)


def plug_in_cable(lab: Lab, node: str) -> None:
    """Put a node back on the network."""
    network.set_link(lab.name, node, UPLINK, up=True)
    network.add_routes(lab.name, lab.topology.host(node))


def kill_node(lab: Lab, node: str) -> None:
    """What a machine's death looks like from outside: its agent gone without a word, its cable dead."""
    kill(lab, f"{node}-agent")
    pull_cable(lab, node)


def revive_node(lab: Lab, node: str) -> None:
    """The machine is back: cable first, then its agent."""
    plug_in_cable(lab, node)
    restart_agent(lab, node)


def silence_routing(lab: Lab, node: str) -> None:
    """Let nothing of a node's BFD out, while its link stays up and its BGP goes on: only BFD notices."""
    rule = f"table inet silence {{ chain out {{ type filter hook output priority 0; udp dport {_BFD_PORT} drop; }}; }}"
    _by_nft_or_iptables(lab, node, rule, "--append")


def resume_routing(lab: Lab, node: str) -> None:
    """Let a silenced node's BFD speak again."""
    _by_nft_or_iptables(lab, node, "delete table inet silence", "--delete")


def _by_nft_or_iptables(lab: Lab, node: str, command: str, verb: str) -> None:
    def body() -> None:
        try:
            run(["nft", command])
        except SystemFailure:  # User-Mode Linux, for one
            for tool in ("iptables-legacy", "ip6tables-legacy"):
                run([tool, verb, "OUTPUT", "--protocol", "udp", "--dport", _BFD_PORT, "--jump", "DROP"])

    call_in(namespace(lab.name, node), body)


def set_health(lab: Lab, name: str, *, healthy: bool) -> None:
    """Make an instance answer its health checks with 200 or 503; it goes on serving either way."""
    host = lab.topology.host(name)
    url = f"http://{host.address}:{INSTANCE_PORT}/healthz"

    def post() -> httpx.Response:
        return httpx.post(url, content="200" if healthy else "503", timeout=5, trust_env=False)

    answer = call_in(namespace(lab.name, host.uplink), post)
    if answer.is_error:
        raise SystemFailure(f"Instance {name} refused to change its health: {answer.text}")


def _start_once(lab: Lab, program: Program) -> None:
    if processes.running(lab, program.title) is None:
        processes.start(lab, program)

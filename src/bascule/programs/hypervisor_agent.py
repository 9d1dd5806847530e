"""The hypervisor agent's process. Implementations are chosen here; a driver is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Callable

from bascule.agents.fencing import DesiredState
from bascule.agents.hypervisor.agent import DESIRED, Enforcement, HypervisorAgent
from bascule.agents.hypervisor.api import hypervisor_agent_app
from bascule.agents.state_file import StateFile
from bascule.forwarding.interface import Forwarding
from bascule.programs.reports import publisher
from bascule.programs.settings import HypervisorAgentSettings
from bascule.programs.startup import start
from bascule.system.http_server import serve
from bascule.system.route_watch import RouteWatch
from bascule.system.sole_process import sole_process


def _ebpf(settings: HypervisorAgentSettings) -> Forwarding:
    from bascule.forwarding.ebpf.driver import EbpfForwarding  # noqa: PLC0415  only when chosen

    return EbpfForwarding(
        uplinks=settings.uplinks,
        tunnel_sources=settings.tunnel_sources,
        tunnel_mtu=settings.tunnel_mtu,
        bpf_dir=settings.bpf_dir,
    )


def _netfilter(settings: HypervisorAgentSettings) -> Forwarding:
    from bascule.forwarding.netfilter.driver import NetfilterForwarding  # noqa: PLC0415  only when chosen

    return NetfilterForwarding(
        uplinks=settings.uplinks,
        tunnel_sources=settings.tunnel_sources,
        tunnel_mtu=settings.tunnel_mtu,
        bpf_dir=settings.bpf_dir,
    )


def _fake(_settings: HypervisorAgentSettings) -> Forwarding:
    from bascule.forwarding.fake import FakeForwarding  # noqa: PLC0415  only when chosen

    return FakeForwarding()


FORWARDINGS: dict[str, Callable[[HypervisorAgentSettings], Forwarding]] = {
    "ebpf": _ebpf,
    "netfilter": _netfilter,
    "fake": _fake,
}


def build(settings: HypervisorAgentSettings) -> HypervisorAgent:
    """The agent with the driver that the settings name. Nothing is started yet."""
    file = settings.state_dir / settings.node_name / "forwarding.json"
    return HypervisorAgent(
        node=settings.node_name,
        orders=StateFile(file, DESIRED, DesiredState),
        enforcement=Enforcement(FORWARDINGS[settings.forwarding](settings)),
        interval=settings.enforce_interval,
        watch=RouteWatch,
    )


def run(settings: HypervisorAgentSettings) -> None:
    """Run until SIGTERM; forwarding goes on without the process."""
    # Two agents of one machine would undo each other\'s tables for ever.
    with sole_process(settings.state_dir / settings.node_name / "hypervisor-agent.lock"):
        serve(hypervisor_agent_app(build(settings), settings.agent_token, publisher(settings)), settings.agent_listen)


def main() -> None:
    """Entry point of `bascule-hypervisor-agent`."""
    start(
        "bascule-hypervisor-agent",
        "Delivers tunnelled packets to this host's instances.",
        HypervisorAgentSettings,
        run,
        noun="hypervisor",
    )


if __name__ == "__main__":
    main()

"""The LB agent's process. Implementations are chosen here, by name; a driver is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from bascule.agents.fencing import DesiredState
from bascule.agents.lb_node.agent import DESIRED, LBAgent
from bascule.agents.lb_node.api import lb_agent_app
from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.lb_node.saved_verdicts import VERDICTS
from bascule.agents.state_file import StateFile
from bascule.announcers.interface import Announcer
from bascule.dataplanes.interface import DataPlane
from bascule.healthchecks.notifier import Notifier
from bascule.healthchecks.probes import real_probes
from bascule.healthchecks.runner import HealthCheckRunner
from bascule.healthchecks.scripts import ScriptFolder
from bascule.model.errors import InvalidInput
from bascule.programs.reports import publisher
from bascule.programs.settings import LBAgentSettings
from bascule.programs.startup import start
from bascule.system.http_server import serve
from bascule.system.own_addresses import own_addresses
from bascule.system.sole_process import sole_process


def _xdp(settings: LBAgentSettings) -> DataPlane:
    from bascule.dataplanes.xdp.driver import XdpDataPlane  # noqa: PLC0415  only when chosen

    return XdpDataPlane(
        interfaces=settings.interfaces,
        tunnel_source=settings.tunnel_source,
        tunnel_source_v6=settings.tunnel_source_v6,
        max_services=settings.max_services,
        bpf_dir=settings.bpf_dir,
        second_chance=settings.second_chance,
    )


def _ipvs(settings: LBAgentSettings) -> DataPlane:
    from bascule.dataplanes.ipvs.driver import IpvsDataPlane  # noqa: PLC0415  only when chosen
    from bascule.dataplanes.ipvs.writing import Timeouts  # noqa: PLC0415

    timeouts = Timeouts(tcp=settings.tcp_timeout, tcp_fin=settings.tcp_fin_timeout, udp=settings.udp_timeout)
    return IpvsDataPlane(interface=settings.vip_interface, timeouts=timeouts)


def _keepalived(settings: LBAgentSettings) -> DataPlane:
    from bascule.dataplanes.keepalived.driver import KeepalivedDataPlane  # noqa: PLC0415  only when chosen

    return KeepalivedDataPlane(
        node=settings.node_name,
        run_dir=settings.run_dir / settings.node_name,
        tunnel_source=settings.tunnel_source,
        tunnel_source_v6=settings.tunnel_source_v6,
        scripts=settings.check_scripts_dir,
    )


def _fake_data_plane(_settings: LBAgentSettings) -> DataPlane:
    from bascule.dataplanes.fake import FakeDataPlane  # noqa: PLC0415  only when chosen

    return FakeDataPlane()


def _bgp(settings: LBAgentSettings) -> Announcer:
    from bascule.announcers.bgp.driver import BgpAnnouncer  # noqa: PLC0415  only when chosen
    from bascule.announcers.bgp.render import BgpOptions, Neighbor  # noqa: PLC0415

    try:
        options = BgpOptions(
            local_as=settings.bgp_local_as,
            router_id=settings.bgp_router_id,
            neighbors=tuple(Neighbor.parse(text) for text in settings.bgp_neighbors),
            bfd_interval_ms=settings.bfd_interval_ms,
            bfd_multiplier=settings.bfd_multiplier,
            password=_secret(settings.bgp_password_file),
            ttl_security=settings.bgp_ttl_security,
            prepend=settings.bgp_prepend,
        )
    except InvalidInput as error:
        variable = f"BASCULE_{(error.field or '').upper()}"
        raise InvalidInput(f"{variable}: {error.sentence}", field=variable) from error
    return BgpAnnouncer(options, settings.run_dir / settings.node_name, grace=settings.bgp_grace)


def _secret(file: Path | None) -> str:
    """The first line of the file; empty without one."""
    if file is None:
        return ""
    try:
        words = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read ({type(error).__name__}).", field="bgp_password_file") from error
    if not words or not words[0]:
        raise InvalidInput(f"{file} is empty: its first line is the password.", field="bgp_password_file")
    return words[0]


def _vrrp(settings: LBAgentSettings) -> Announcer:
    from bascule.announcers.vrrp.deadlines import Lease  # noqa: PLC0415  only when chosen
    from bascule.announcers.vrrp.driver import VrrpAnnouncer  # noqa: PLC0415
    from bascule.announcers.vrrp.render import VrrpOptions, ids_of  # noqa: PLC0415

    if settings.dataplane == "keepalived":
        raise InvalidInput(
            "BASCULE_ANNOUNCER=vrrp puts addresses on an interface, and keepalived's data plane must have them"
            " elsewhere: take BASCULE_DATAPLANE=xdp or ipvs.",
            field="BASCULE_ANNOUNCER",
        )
    options = VrrpOptions(
        interface=settings.vrrp_interface,
        nodes=settings.vrrp_nodes,
        ids=ids_of(settings.vrrp_ids),
        advert_ms=settings.vrrp_advert_ms,
        preempt=settings.vrrp_preempt,
        preempt_delay=settings.vrrp_preempt_delay,
        hops=settings.vrrp_hops,
        gateways=settings.vrrp_gateways,
        table=settings.vrrp_table,
        rule_priority=settings.vrrp_rule_priority,
        repeats=settings.vrrp_repeats,
        refresh=settings.vrrp_refresh,
        notify=settings.vrrp_notify,
        mail_to=settings.vrrp_mail_to,
        mail_from=settings.vrrp_mail_from,
        mail_server=settings.vrrp_mail_server,
    )
    folder = settings.run_dir / settings.node_name / "vrrp"
    lease = Lease(folder / "lease", settings.lease)
    return VrrpAnnouncer(options, folder, own_addresses=own_addresses, lease=lease, hold=settings.vrrp_hold)


def _fake_announcer(_settings: LBAgentSettings) -> Announcer:
    from bascule.announcers.fake import FakeAnnouncer  # noqa: PLC0415  only when chosen

    return FakeAnnouncer()


DATA_PLANES: dict[str, Callable[[LBAgentSettings], DataPlane]] = {
    "xdp": _xdp,
    "ipvs": _ipvs,
    "keepalived": _keepalived,
    "fake": _fake_data_plane,
}
ANNOUNCERS: dict[str, Callable[[LBAgentSettings], Announcer]] = {"bgp": _bgp, "vrrp": _vrrp, "fake": _fake_announcer}


def build(settings: LBAgentSettings) -> LBAgent:
    """The agent with the drivers that the settings name. Nothing is started yet. Raises InvalidInput."""
    folder = settings.state_dir / settings.node_name
    data_plane = DATA_PLANES[settings.dataplane](settings)
    announcer = ANNOUNCERS[settings.announcer](settings)
    scripts = ScriptFolder(settings.check_scripts_dir)
    try:
        probes = real_probes(scripts, settings.check_ca_file)
    except OSError as error:
        raise InvalidInput(
            f"BASCULE_CHECK_CA_FILE: {settings.check_ca_file} cannot be read as certificates ({error}).",
            field="BASCULE_CHECK_CA_FILE",
        ) from error
    return LBAgent(
        node=settings.node_name,
        orders=StateFile(folder / "load-balancers.json", DESIRED, DesiredState),
        verdicts=StateFile(folder / "verdicts.json", VERDICTS, tuple),
        health_checks=HealthCheckRunner(probes, random=Random()),  # noqa: S311  phases are no secret
        enforcement=Enforcement(data_plane, announcer, own_addresses),
        interval=settings.enforce_interval,
        hold=settings.start_hold,
        notifier=Notifier(scripts, settings.notify_script) if settings.notify_script else None,
    )


def run(settings: LBAgentSettings) -> None:
    """Run until SIGTERM; the data plane and the announcer go on without the process."""
    # Two agents of one machine would undo each other\'s tables for ever.
    with sole_process(settings.state_dir / settings.node_name / "lb-agent.lock"):
        serve(lb_agent_app(build(settings), settings.agent_token, publisher(settings)), settings.agent_listen)


def main() -> None:
    """Entry point of `bascule-lb-agent`."""
    start("bascule-lb-agent", "Carries load balancers on this machine.", LBAgentSettings, run, noun="lb_node")


if __name__ == "__main__":
    main()

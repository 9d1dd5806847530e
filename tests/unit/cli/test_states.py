"""How a load balancer's state is laid out."""

from __future__ import annotations

from ipaddress import ip_address
from uuid import UUID

from bascule.cli.states import lines_of
from bascule.model.health_checks import Health
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ForwardingMethod
from bascule.wire.admin_v1_state import BackendStateView, LoadBalancerStateView, NodeStateView, ServiceStateView

VIP = ip_address("2001:db8::1")


def test_columns_line_up_and_addresses_of_ipv6_stand_in_brackets() -> None:
    """The layout of `ipvsadm -L`, with totals, health and names behind it."""
    backends = [
        BackendStateView(
            address=ip_address("2001:db8:1::1"),
            port=80,
            method=ForwardingMethod.TUNNEL,
            weight=1,
            packets=12,
            bytes=9000,
        ),
        BackendStateView(
            address=ip_address("2001:db8:1::22"),
            port=80,
            method=ForwardingMethod.LOCAL,
            weight=None,
            instance="web-1",
            health=Health.FAILURE,
            message="refused",
        ),
    ]
    service = ServiceStateView(
        name="http",
        protocol=Protocol.TCP,
        address=VIP,
        port=80,
        scheduler="wrr",
        packets=12,
        bytes=9000,
        backends=backends,
    )
    silent = NodeStateView(
        lb_node=UUID(int=2), name="lb-2", data_plane="xdp", answers=False, problems=["lb-2 is silent."], services=[]
    )
    serving = NodeStateView(
        lb_node=UUID(int=1),
        name="lb-1",
        data_plane="ipvs",
        answers=True,
        ready=True,
        announced=True,
        problems=[],
        services=[service],
    )
    state = LoadBalancerStateView(id=UUID(int=3), name="web", remarks=[], lb_nodes=[serving, silent])
    assert list(lines_of(state)) == [
        "",
        "lb-1 (ipvs): serves, announces",
        "Prot LocalAddress:Port Scheduler",
        "  -> RemoteAddress:Port  Forward Weight ActiveConn InActConn Packets Bytes Health",
        "TCP  [2001:db8::1]:80 wrr [http] 12 packets, 9000 bytes",
        "  -> [2001:db8:1::1]:80  Tunnel  1      0          0         12      9000",
        "  -> [2001:db8:1::22]:80 Local   -      0          0         0       0     failure (refused) web-1",
        "",
        "lb-2 (xdp): does not answer",
        "  lb-2 is silent.",
    ]

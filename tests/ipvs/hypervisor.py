"""What a hypervisor agent does, by the kernel's own tunnels and NAT, for the centre's two instances.

Once a packet is decapsulated, which instance was it for? In an outer IPv4 a mark says it, which outlives the tunnel. An
outer IPv6 is readdressed to an address of the hypervisor that has a tunnel of its own: the kernel's IPv6 tunnels want
their outer destination to be an address of this machine, a route to it is not enough.
"""

from __future__ import annotations

from tests.ipvs.bench import VIPS
from tests.namespaces import Hosts

_INSTANCES = (1, 2)
_PORT = 9000
# Protocol numbers: IPv4 and IPv6 in IP.
_INNER = {4: 4, 6: 41}


def hypervise(hosts: Hosts) -> None:
    """Make `hv` of these hosts decapsulate and translate."""
    _tunnels(hosts)
    for family, program in ((4, "iptables-legacy-restore"), (6, "ip6tables-legacy-restore")):
        tables = {"nat": _arriving(family), "filter": _guards(family)}
        if family == 4:
            tables["mangle"] = [
                f"-A PREROUTING -d 10.128.0.{number} -p {inner} -j MARK --set-mark {0x100 + number}"
                for number in _INSTANCES
                for inner in _INNER.values()
            ]
        else:
            tables["nat"] += [
                f"-A PREROUTING -d fd00:128::{number} -p {inner} -j DNAT --to fd00:20::10{number}"
                for number in _INSTANCES
                for inner in _INNER.values()
            ]
        script = "".join(f"*{table}\n" + "\n".join(rules) + "\nCOMMIT\n" for table, rules in tables.items())
        hosts.do("hv", f"{program} --noflush", script)


def _tunnels(hosts: Hosts) -> None:
    # Tunnels are for the instances' addresses: the kernel decapsulates only what a route calls its own.
    hosts.ip("hv", "rule add pref 91 fwmark 0x100/0xf00 iif eth0 lookup 200")
    hosts.ip("hv", "route add local default dev lo table 200", "link set tunl0 up", "link set sit0 up")
    for number in _INSTANCES:
        hosts.ip(
            "hv",
            f"addr add fd00:20::10{number}/128 dev eth0",
            f"link add in{number} type ip6tnl local fd00:20::10{number} remote :: mode any encaplimit none",
            f"link set in{number} up",
        )
    for name in ("eth0", "tunl0", "in1", "in2"):
        hosts.sysctl("hv", **{f"ipv4__conf__{name}__rp_filter": 0})


def _arriving(family: int) -> list[str]:
    """Whatever is for the VIP goes to the instance that its tunnel was for."""
    vip, base = VIPS[family], {4: "10.128.0.{}", 6: "[fd00:128::{}]"}[family]
    marking = {4: "tunl0", 6: "sit0"}[family]
    return [
        f"-A PREROUTING {way} -d {vip} -p {protocol} -j DNAT --to {base.format(number)}:{_PORT}"
        for number in _INSTANCES
        for way in (f"-i {marking} -m mark --mark {0x100 + number}", f"-i in{number}")
        for protocol in ("tcp", "udp")
    ]


def _guards(family: int) -> list[str]:
    """What no rule translates would circle between the router and the LB node."""
    return [f"-A FORWARD -i {way} -d {VIPS[family]} -j DROP" for way in ("tunl0", "sit0", "in1", "in2")]

"""The nftables table that translates, as scripts for `nft -f -`. Pure; checked by `nft -c` in the tests.

The tc program marks each packet that it takes out of a tunnel with its instance's address. From there:

apart      gives each instance a conntrack zone of its own for what comes from clients, so that a client's flow that the
           LB nodes move to another instance of this very host is a new connection, and a client on this host is not
           taken for an echo of itself
translate  the seeds' NAT rule, once for all: a map from instance, VIP, protocol and port to the instance and its port
guard      drops what came out of a tunnel and was not translated: routed, it would go back to the LB nodes and circle
reply      clamps the MSS that instances offer; conntrack translates replies by itself
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from bascule.model.addresses import IPAddress, address_order
from bascule.model.configurations import ForwardingRule

FAMILY, TABLE = "ip", "bascule_forwarding"
SETS, MAPS = ("instances", "addresses"), ("zones", "targets")
COUNTERS = {
    "translated": "out of a tunnel, VIP:port became instance:target port",
    "replied": "instance:target port is to become VIP:port again",
    "mss_clamped": "a SYN+ACK offered more than fits the tunnel",
    "dropped_no_rule": "out of a tunnel, but translated by no rule: forwarding it would make it circle",
}
_WHERE = f"{FAMILY} {TABLE}"
# The address's last 16 bits: those of the instances of one host differ.
_ZONE = 0xFFFF

_CHAINS = """\
\tset instances {{
\t\ttype mark
\t}}
\tset addresses {{
\t\ttype ipv4_addr
\t}}
\tmap zones {{
\t\ttypeof meta mark : ct zone
\t}}
\tmap targets {{
\t\ttype mark . ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
\t}}
\tchain apart {{
\t\ttype filter hook prerouting priority raw - 10; policy accept;
\t\tct original zone set meta mark map @zones
\t}}
\tchain translate {{
\t\ttype nat hook prerouting priority dstnat - 10; policy accept;
\t\tdnat ip to meta mark . ip daddr . meta l4proto . th dport map @targets
\t}}
\tchain guard {{
\t\ttype filter hook prerouting priority dstnat + 10; policy accept;
\t\tmeta mark != @instances accept
\t\tct status dnat meta mark set 0 counter name translated accept
\t\tcounter name dropped_no_rule drop
\t}}
\tchain reply {{
\t\ttype filter hook forward priority mangle; policy accept;
\t\tct direction reply ct original ip daddr @addresses ct status dnat counter name replied
\t\tct direction reply ct original ip daddr @addresses tcp flags & syn == syn \
tcp option maxseg size > {segment} counter name mss_clamped tcp option maxseg size set {segment}
\t}}
"""


def mark(instance: IPAddress) -> int:
    """What the tc program writes on an instance's packets: its address, so that no two processes can disagree."""
    return int(instance)


def zone(instance: IPAddress) -> int:
    """The conntrack zone of what clients send to an instance."""
    return int(instance) & _ZONE


def table(largest_segment: int) -> str:
    """Make the table, without elements. `largest_segment` is in bytes of TCP."""
    counters = "".join(f"\tcounter {name} {{ }}\n" for name in COUNTERS)
    return f"table {_WHERE} {{\n{counters}{_CHAINS.format(segment=largest_segment)}}}\n"


def remove() -> str:
    """Remove the table, whether it is there or not."""
    return f"table {_WHERE}\ndelete table {_WHERE}\n"


def fill(rules: Iterable[ForwardingRule], instances: Set[IPAddress]) -> str:
    """Replace all elements: one transaction, which leaves counters and known connections alone.

    `instances` may have tunnels without any rule: what comes for them is dropped.
    """
    ordered, hosts = sorted(rules), sorted(instances, key=address_order)
    targets = (
        f"{mark(rule.instance):#010x} . {rule.address} . {rule.protocol} . {rule.port} : "
        f"{rule.instance} . {rule.target_port}"
        for rule in ordered
    )
    return (
        "".join(f"flush set {_WHERE} {name}\n" for name in SETS)
        + "".join(f"flush map {_WHERE} {name}\n" for name in MAPS)
        + _add("instances", (f"{mark(host):#010x}" for host in hosts))
        + _add("zones", (f"{mark(host):#010x} : {zone(host)}" for host in hosts))
        + _add("addresses", (str(address) for address in sorted({rule.address for rule in ordered}, key=address_order)))
        + _add("targets", targets)
    )


def _add(name: str, elements: Iterable[str]) -> str:
    listed = ",\n\t".join(elements)
    return f"add element {_WHERE} {name} {{\n\t{listed}\n}}\n" if listed else ""

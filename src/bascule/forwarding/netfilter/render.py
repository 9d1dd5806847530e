"""The nftables table that translates, as scripts for `nft -f -`. Pure; checked by `nft -c` in the tests.

The tc program marks each packet that it takes out of a tunnel with its instance's address. From there:

apart      gives each instance a conntrack zone of its own for what comes from clients, so that a client's flow that the
           LB nodes move to another instance of this very host is a new connection, and a client on this host is not
           taken for an echo of itself
translate  the seeds' NAT rule, once for all: a map from instance, VIP, protocol and port to the instance and its port
guard      drops what came out of a tunnel and was not translated: routed, it would go back to the LB nodes and circle
reply      clamps the MSS that instances offer; conntrack translates replies by itself

Each version of IP has a table of its own, `ip` and `ip6`: no difference but in the types of addresses.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Iterable, Set

from bascule.model.addresses import IPAddress, address_order
from bascule.model.configurations import ForwardingRule

TABLE = "bascule_forwarding"
# nftables' name of the family, by the version of IP
FAMILIES = {4: "ip", 6: "ip6"}
SETS, MAPS = ("instances", "addresses"), ("zones", "targets")
COUNTERS = {
    "translated": "out of a tunnel, VIP:port became instance:target port",
    "replied": "instance:target port is to become VIP:port again",
    "mss_clamped": "a SYN+ACK offered more than fits the tunnel",
    "dropped_no_rule": "out of a tunnel, but translated by no rule: forwarding it would make it circle",
}
# The address's last 16 bits: those of the instances of one host differ.
_ZONE = 0xFFFF
_IPV4 = 4

_CHAINS = """\
\tset instances {{
\t\ttype mark
\t}}
\tset addresses {{
\t\ttype ipv{version}_addr
\t}}
\tmap zones {{
\t\ttypeof meta mark : ct zone
\t}}
\tmap targets {{
\t\ttype mark . ipv{version}_addr . inet_proto . inet_service : ipv{version}_addr . inet_service
\t}}
\tchain apart {{
\t\ttype filter hook prerouting priority raw - 10; policy accept;
\t\tct original zone set meta mark map @zones
\t}}
\tchain translate {{
\t\ttype nat hook prerouting priority dstnat - 10; policy accept;
\t\tdnat {family} to meta mark . {family} daddr . meta l4proto . th dport map @targets
\t}}
\tchain guard {{
\t\ttype filter hook prerouting priority dstnat + 10; policy accept;
\t\tmeta mark != @instances accept
\t\tct status dnat meta mark set 0 counter name translated accept
\t\tcounter name dropped_no_rule drop
\t}}
\tchain reply {{
\t\ttype filter hook forward priority mangle; policy accept;
\t\tct direction reply ct original {family} daddr @addresses ct status dnat counter name replied
\t\tct direction reply ct original {family} daddr @addresses tcp flags & syn == syn \
tcp option maxseg size > {segment} counter name mss_clamped tcp option maxseg size set {segment}
\t}}
"""


def mark(instance: IPAddress) -> int:
    """What the tc program writes on an instance's packets: made of its address, so that no two processes can disagree.

    An IPv6 address is too long to be its own mark. This sum (CRC-32) differs for any two addresses that differ within
    32 bits in a row only, as those of one host usually do; `collisions` finds the others.
    """
    return int(instance) if instance.version == _IPV4 else zlib.crc32(instance.packed) or 1


def zone(instance: IPAddress) -> int:
    """The conntrack zone of what clients send to an instance: of IPv4 its last bits, of IPv6 a sum of them all.

    Two instances in one zone do no harm but to flows that the LB nodes move from one to the other.
    """
    return int(instance) & _ZONE if instance.version == _IPV4 else binascii.crc_hqx(instance.packed, 0)


def collisions(instances: Set[IPAddress]) -> dict[IPAddress, IPAddress]:
    """The instances that cannot be told from another one by their mark, with that one, which keeps it."""
    holders: dict[int, IPAddress] = {}
    found: dict[IPAddress, IPAddress] = {}
    for instance in sorted(instances, key=address_order):
        holder = holders.setdefault(mark(instance), instance)
        if holder != instance:
            found[instance] = holder
    return found


def where(version: int) -> str:
    """The table of that version of IP, as nft calls it."""
    return f"{FAMILIES[version]} {TABLE}"


def table(version: int, largest_segment: int) -> str:
    """Make the table, without elements. `largest_segment` is in bytes of TCP."""
    counters = "".join(f"\tcounter {name} {{ }}\n" for name in COUNTERS)
    chains = _CHAINS.format(version=version, family=FAMILIES[version], segment=largest_segment)
    return f"table {where(version)} {{\n{counters}{chains}}}\n"


def remove(version: int) -> str:
    """Remove the table, whether it is there or not."""
    return f"table {where(version)}\ndelete table {where(version)}\n"


def fill(version: int, rules: Iterable[ForwardingRule], instances: Set[IPAddress]) -> str:
    """Replace all elements: one transaction, which leaves counters and known connections alone.

    `instances` may have tunnels without any rule: what comes for them is dropped. All are of that version of IP.
    """
    name = where(version)
    ordered, hosts = sorted(rules), sorted(instances, key=address_order)
    vips = sorted({rule.address for rule in ordered}, key=address_order)
    targets = (
        f"{mark(rule.instance):#010x} . {rule.address} . {rule.protocol} . {rule.port} : "
        f"{rule.instance} . {rule.target_port}"
        for rule in ordered
    )
    return (
        "".join(f"flush set {name} {each}\n" for each in SETS)
        + "".join(f"flush map {name} {each}\n" for each in MAPS)
        + _add(name, "instances", (f"{mark(host):#010x}" for host in hosts))
        + _add(name, "zones", (f"{mark(host):#010x} : {zone(host)}" for host in hosts))
        + _add(name, "addresses", map(str, vips))
        + _add(name, "targets", targets)
    )


def _add(table_name: str, name: str, elements: Iterable[str]) -> str:
    listed = ",\n\t".join(elements)
    return f"add element {table_name} {name} {{\n\t{listed}\n}}\n" if listed else ""

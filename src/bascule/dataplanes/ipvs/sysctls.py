"""The kernel's settings that forwarding depends on: one set per network namespace, written and read back."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

from bascule.model.errors import SystemFailure

_NET = Path("/proc/sys/net")
WANTED = {
    # A connection may begin on another LB node and come here when that dies: choose a destination for it although we
    # never saw its first packet. With maglev-hash it is the one that it had.
    "sloppy_tcp": "1",
    # A destination that was removed is dead: forget its connections at their next packet, instead of dropping what they
    # send until the connections time out.
    "expire_nodest_conn": "1",
    # A template of a persistent server must not draw new connections to a destination of weight 0.
    "expire_quiescent_template": "1",
    # A client that uses a port again while we remember its last connection opens a new one, which is balanced anew:
    # else it follows the old one to a destination that may be gone or draining.
    "conn_reuse_mode": "1",
    # A new connection must not wait a second for an old one to end before it is balanced: with conntrack it would.
    "conntrack": "0",
    # Connections must not be scheduled past us to the address itself when no destination is left.
    "cache_bypass": "0",
    # A tunnel makes packets longer: tell clients how long they may be, instead of losing what does not fit.
    "pmtu_disc": "1",
}


def enforce() -> tuple[str, ...]:
    """Set what differs of IPVS, in the calling thread's namespace. Returns a sentence each; raises SystemFailure."""
    return put({f"ipv4/vs/{name}": value for name, value in WANTED.items()})


def take_ipv6(interface: str) -> tuple[str, ...]:
    """See that the interface may have IPv6 addresses: where that is disabled, the kernel takes none."""
    return put({f"ipv6/conf/{interface}/disable_ipv6": "0"})


def forward(families: Set[int]) -> tuple[str, ...]:
    """See that the kernel forwards: replies of translated connections come back by this node.

    A kernel that forwards IPv6 turns a deaf ear to router advertisements, from which this node may have its own default
    route: interfaces that hear them (`accept_ra` 1) go on doing so (2).
    """
    changed: tuple[str, ...] = ()
    if 4 in families:
        changed += put({"ipv4/ip_forward": "1"})
    if 6 in families and _read("ipv6/conf/all/forwarding") != "1":
        hearing = [
            path.relative_to(_NET).as_posix()
            for path in sorted(_NET.glob("ipv6/conf/*/accept_ra"))
            if path.read_text().strip() == "1"
        ]
        changed += put(dict.fromkeys(hearing, "2"))
        changed += put({"ipv6/conf/all/forwarding": "1"})
    return changed


def put(wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Set what differs of these names below net, with slashes. Returns a sentence each; raises SystemFailure."""
    changed = [name for name, value in wanted.items() if _read(name) != value]
    for name in changed:
        try:
            (_NET / name).write_text(wanted[name])
        except OSError as error:
            raise SystemFailure(f"Cannot set {_spoken(name)}: {error.strerror}. Run as root.") from error
        if _read(name) != wanted[name]:
            raise SystemFailure(f"{_spoken(name)} does not become {wanted[name]}: who else sets it?")
    return tuple(f"Set {_spoken(name)} to {wanted[name]}." for name in changed)


def differing(wanted: Mapping[str, str]) -> frozenset[str]:
    """Those that `put` would set, in the sysctl command's words. Raises SystemFailure for one that is not there."""
    return frozenset(_spoken(name) for name, value in wanted.items() if _read(name) != value)


def _read(name: str) -> str:
    try:
        return (_NET / name).read_text().strip()
    except OSError as error:
        advice = "Boot with IPv6 (ipv6.disable=0)" if name.startswith("ipv6/") else "Load ip_vs of Linux 4.1 or later"
        raise SystemFailure(f"Cannot read {_spoken(name)}: {error.strerror}. {advice}.") from error


def _spoken(name: str) -> str:
    return f"net.{name.replace('/', '.')}"

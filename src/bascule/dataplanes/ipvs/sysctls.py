"""The settings of IPVS that forwarding depends on: one set per network namespace, written and read back."""

from __future__ import annotations

from pathlib import Path

from bascule.model.errors import SystemFailure

_FOLDER = Path("/proc/sys/net/ipv4/vs")
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
    """Set what differs, in the calling thread's network namespace. Returns a sentence each; raises SystemFailure."""
    changed = [name for name, value in WANTED.items() if _read(name) != value]
    for name in changed:
        try:
            (_FOLDER / name).write_text(WANTED[name])
        except OSError as error:
            raise SystemFailure(f"Cannot set net.ipv4.vs.{name}: {error.strerror}. Run as root.") from error
        if _read(name) != WANTED[name]:
            raise SystemFailure(f"net.ipv4.vs.{name} does not become {WANTED[name]}: who else sets it?")
    return tuple(f"Set net.ipv4.vs.{name} to {WANTED[name]}." for name in changed)


def _read(name: str) -> str:
    try:
        return (_FOLDER / name).read_text().strip()
    except OSError as error:
        raise SystemFailure(
            f"Cannot read net.ipv4.vs.{name}: {error.strerror}. Load ip_vs of Linux 4.1 or later."
        ) from error

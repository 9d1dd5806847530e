"""The addresses of this machine, in the calling thread's network namespace."""

from __future__ import annotations

from ipaddress import ip_address

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure

_LOOPBACK = 1  # the index of lo in every namespace


def own_addresses() -> frozenset[IPAddress]:
    """Those of every interface but the loopback's. Raises SystemFailure when the kernel does not tell."""
    try:
        with IPRoute() as netlink:
            # On a point-to-point link, `address` is the other side's and `local` ours.
            found = {
                ip_address(message.get("local") or message.get("address"))
                for message in netlink.get_addr()
                if message["index"] != _LOOPBACK
            }
    except (NetlinkError, OSError) as error:
        raise SystemFailure(f"The kernel refused to list addresses: {error}.") from error
    return frozenset(address for address in found if not address.is_link_local)

"""Asks the kernel which interfaces run XDP natively (generic netlink family `netdev`, since Linux 6.3)."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink import NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

# linux/netdev.h
_DEV_GET = 1
_XDP_ACT_BASIC = 1


class _Device(genlmsg):  # type: ignore[misc]  # pyroute2 is untyped
    nla_map = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "hex"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def native_xdp(indexes: list[int]) -> dict[int, bool]:
    """Whether each interface has native XDP; those that the kernel says nothing about are left out."""
    found: dict[int, bool] = {}
    with GenericNetlinkSocket() as netlink:
        try:
            netlink.bind("netdev", _Device)
        except NetlinkError:
            return found
        for index in indexes:
            try:
                (answer,) = netlink.nlm_request(_request(index), msg_type=netlink.prid, msg_flags=NLM_F_REQUEST)
            except NetlinkError:
                continue  # it went away just now
            found[index] = bool((answer.get_attr("NETDEV_A_DEV_XDP_FEATURES") or 0) & _XDP_ACT_BASIC)
    return found


def _request(index: int) -> Any:
    message = _Device()
    message["cmd"], message["version"] = _DEV_GET, 1
    message["attrs"] = [("NETDEV_A_DEV_IFINDEX", index)]
    return message

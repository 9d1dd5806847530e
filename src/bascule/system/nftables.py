"""Tells cheaply whether anything changed among a network namespace's nftables rules."""

from __future__ import annotations

import socket
import struct

# linux/netfilter/nfnetlink.h and nf_tables.h
_NETLINK_NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16


def generation() -> int:
    """A number that grows with every change to this namespace's nftables rules: far cheaper to read than the rules."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.bind((0, 0))
        netlink.settimeout(2)
        # struct nlmsghdr with NLM_F_REQUEST, then struct nfgenmsg
        netlink.send(struct.pack("=IHHIIBBH", 20, _GET_GENERATION, 1, 1, 0, socket.AF_UNSPEC, 0, 0))
        answer = netlink.recv(4096)
    # After nlmsghdr (16 bytes) and nfgenmsg (4) comes NFTA_GEN_ID: its header (4), then the number in network order.
    return int(struct.unpack_from(">I", answer, 24)[0])

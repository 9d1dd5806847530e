"""VRRP by keepalived: of the nodes on a segment one has the address on its interface, and answers for it.

Each address is a VRRP instance of its own, so that one that is not ready here moves alone. keepalived decides who is
master; this package writes its configuration, keeps it running, and sees to it that an address never stays behind on a
node whose keepalived or whose agent is dead or frozen (docs/decisions/0021-vrrp.md).
"""

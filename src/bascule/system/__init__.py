"""The only hands on the machine: commands, network namespaces, netlink, BPF, nftables, BIRD's control socket.

Knows nothing of load balancing. Everything in here raises `SystemFailure` with the words of whoever refused.
"""

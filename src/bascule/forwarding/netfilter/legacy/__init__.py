"""The same translation by iptables-legacy, for kernels whose nftables has no family `ip`. IPv4 only.

It differs in two things: policy routing sees the marks, which iptables can take off only after the route was chosen;
and what no rule translates is dropped after that too, so a host without a route for it answers as for any such packet.
"""

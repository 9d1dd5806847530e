"""The same translation by iptables-legacy, for kernels whose nftables has no family `ip`. IPv4 only."""

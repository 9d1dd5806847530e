"""Translation by the kernel's own NAT (nftables), behind a small tc program that only decapsulates."""

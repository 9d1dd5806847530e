"""The library for writing orchestrators: queue, leases, the inventory→event→job loop, job trees, runner, retry.

Knows nothing of load balancing and could be lifted out. `docs/decisions/` tells why it looks the way it does.
"""

"""BGP by BIRD 2, with BFD.

An address is announced by a blackhole route in a routing table of its own, which no rule looks up. BIRD learns the
table and exports it, so one netlink message announces or withdraws: BIRD is never restarted or reconfigured for it,
its sessions stay up, and what is announced outlives the agent.
"""

"""Forwards with the kernel's own balancer, IPVS, told by netlink alone.

`translate.py` says which entries a virtual service means, `diff.py` what to change so that the kernel has them (both
pure); `reading.py` and `writing.py` are the hands on the table (`netlink.py` is its socket; `layout.py`, pure, its
bytes), `addresses.py` on the VIPs, `sysctls.py` on the settings of the namespace; `driver.py` joins them.

IPVS remembers every connection in this node's own table, and another LB node knows nothing of it: after a change of
LB nodes only `maglev-hash` sends a connection to the backend that it had. The `hash_seed` of a service has no meaning
here: the kernel's hashes have a fixed one.
"""

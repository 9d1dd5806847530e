"""The data plane `keepalived`: one keepalived and one network namespace for each load balancer.

- `quoting`, `patterns`, `checks`, `render`: what is desired as a configuration file (pure).
- `state`: what a running keepalived says of itself; `table`: what IPVS must have then (pure).
- `daemon`: one keepalived; `wiring`: the namespace's links, addresses and routes; `driver`: all of them together.

docs/decisions/0010 says why it is built this way, and which health checks it refuses.
"""

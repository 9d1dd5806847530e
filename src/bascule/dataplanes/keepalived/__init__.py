"""The data plane `keepalived`: one keepalived and one network namespace for each load balancer.

- `quoting`, `patterns`, `checks`, `render`: what is desired as a configuration file (pure).
- `state`: what a running keepalived says of itself; `table`: what IPVS must have then (pure).
- `naming`: the names and addresses of a load balancer on a node (pure).
- `daemon`: one keepalived; `wiring`: the namespace's links, addresses and routes.
- `balancer`: both of them and IPVS for one load balancer; `driver`: all load balancers of the node.

docs/decisions/0010 says why it is built this way, and which health checks it refuses.
"""

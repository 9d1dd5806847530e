"""A data centre in network namespaces: topology, processes, traffic, faults. Shipped: try it before you buy it."""

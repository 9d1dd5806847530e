"""The whole system over real packets, in network namespaces."""

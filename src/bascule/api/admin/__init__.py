"""The operators' API, /admin/v1: machines, ranges, keys, and a look into the orchestrator."""

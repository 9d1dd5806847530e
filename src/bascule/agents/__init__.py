"""The processes on LB nodes and hypervisors, and what they share: HTTP server, state file, enforcement loop."""

"""Bodies that cross a process border, versioned: `public_v2`, `admin_v1`, `agent_v1`."""

"""What draws packets to an LB node: the interface, a fake that ships, and one folder per real announcer."""

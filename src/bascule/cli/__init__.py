"""The command line, one file a noun. It reaches the system through the public and admin API only."""

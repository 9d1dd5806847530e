"""The hypervisor agent (what the first talk calls the HV Daemon)."""

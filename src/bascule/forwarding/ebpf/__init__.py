"""Decapsulation and translation in tc (`bpf/tc_hypervisor.bpf.c`)."""

"""The XDP data plane: an eBPF program (`bpf/xdp_balancer.bpf.c`) and the tables it reads."""

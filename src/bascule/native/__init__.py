"""Where the compiled objects lie: `xdp_balancer.bpf.o`, `tc_hypervisor.bpf.o`, `libbascule.so` (`make native`)."""

from __future__ import annotations

from pathlib import Path

DIRECTORY = Path(__file__).parent

"""Where the compiled objects lie (`make native`): `*.bpf.o` and `libbascule.so`."""

from __future__ import annotations

from pathlib import Path

DIRECTORY = Path(__file__).parent

"""Run a program with an argument list (never a shell), and turn its refusal into one sentence."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from bascule.model.errors import SystemFailure


def run(command: Sequence[str], *, stdin: str | None = None, timeout: float = 10.0, merge_errors: bool = False) -> str:
    """Run and return standard output, followed by what went to standard error if `merge_errors`.

    Raises SystemFailure when missing, failing, or slower than `timeout` seconds.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise SystemFailure(f"{command[0]} is not installed: install it (`make setup` knows the package).") from None
    except subprocess.TimeoutExpired:
        raise SystemFailure(
            f"`{' '.join(command)}` did not end within {timeout:g} s: look at the machine's load."
        ) from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip() or "no message"
        raise SystemFailure(f"`{' '.join(command)}` failed with status {done.returncode}: {words}")
    return done.stdout + done.stderr if merge_errors else done.stdout

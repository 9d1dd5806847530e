"""Failures in words."""

from __future__ import annotations

import os


def reason_of(error: Exception) -> str:
    """The kernel's words where there are any."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__

"""Work inside a network namespace: `setns` in a thread of its own, so that the caller's thread never moves.

Uses libc's setns(2), because Python's own (`os.setns`) came only with 3.12.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bascule.model.errors import SystemFailure

NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def enter(name: str) -> None:
    """Move the calling thread into the named namespace, for good. Raises SystemFailure when it does not exist."""
    try:
        handle = os.open(NAMESPACES / name, os.O_RDONLY)
    except OSError as error:
        raise SystemFailure(f"Cannot enter network namespace {name}: {error.strerror}. Is it up?") from error
    try:
        if _libc.setns(handle, _CLONE_NEWNET):
            raise SystemFailure(
                f"Cannot enter network namespace {name}: {os.strerror(ctypes.get_errno())}. Are you root?"
            )
    finally:
        os.close(handle)


def call_in(name: str, function: Callable[[], T]) -> T:
    """Call the function inside the named namespace and return its result; its exceptions come through."""
    return _in_a_thread(lambda: enter(name), function, f"netns-{name}")


def call_apart(function: Callable[[], T]) -> T:
    """Call the function in a new network namespace that goes away with it, to try what the kernel can do.

    Raises SystemFailure without root.
    """
    return _in_a_thread(_leave, function, "netns-apart")


def _leave() -> None:
    if _libc.unshare(_CLONE_NEWNET):
        raise SystemFailure(f"Cannot make a network namespace: {os.strerror(ctypes.get_errno())}. Are you root?")


def _in_a_thread(move: Callable[[], None], function: Callable[[], T], name: str) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            move()
            results.append(function())
        except BaseException as error:  # noqa: BLE001  whatever it is belongs to the caller, who runs in another thread
            errors.append(error)

    thread = threading.Thread(target=body, name=name)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]

"""The loaded program with its pinned maps, and where it is attached."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from bascule.dataplanes.xdp.layout import FATES, LAYOUT_VERSION
from bascule.model.errors import SystemFailure
from bascule.native import DIRECTORY
from bascule.system import bpf
from bascule.system.bpffs import ensure_bpffs

_PROGRAM = DIRECTORY / "xdp_balancer.bpf.o"
_PINS = f"layout-{LAYOUT_VERSION}-{len(FATES)}"


def load(bpf_dir: Path, sizes: Mapping[str, int], settings: bytes) -> tuple[bpf.BpfObject, tuple[str, ...]]:
    """Load the program over the pinned maps of an earlier process, or over fresh ones when theirs have another shape.

    `sizes` are the maps' numbers of entries. Returns the object and a sentence when tables were thrown away. Raises
    SystemFailure when the kernel refuses.
    """
    ensure_bpffs(bpf_dir)
    sentences = _drop_other_layouts(bpf_dir)
    pins = bpf_dir / _PINS
    pins.mkdir(exist_ok=True)
    try:
        return _open(pins, sizes, settings), sentences
    except SystemFailure:
        if not any(pins.iterdir()):
            raise
        # Raises again unless it is the pinned maps that do not fit: history is not thrown away for another's fault.
        bpf.BpfObject(_PROGRAM, read_only_data=settings, max_entries=sizes).close()
    _remove(pins)
    pins.mkdir()
    loaded = _open(pins, sizes, settings)
    return loaded, (*sentences, f"The tables under {pins} did not fit this configuration: started with empty ones.")


def _open(pins: Path, sizes: Mapping[str, int], settings: bytes) -> bpf.BpfObject:
    return bpf.BpfObject(_PROGRAM, read_only_data=settings, max_entries=sizes, pin_maps_under=pins)


def _drop_other_layouts(bpf_dir: Path) -> tuple[str, ...]:
    others = [path for path in sorted(bpf_dir.glob("layout-*")) if path.name != _PINS]
    for path in others:
        _remove(path)
    return tuple(
        f"The tables under {path} were laid out by another version: started with empty ones." for path in others
    )


def _remove(pins: Path) -> None:
    try:
        shutil.rmtree(pins)
    except OSError as error:
        raise SystemFailure(f"Cannot remove the old tables {pins}: {error.strerror}. Remove them by hand.") from error


class Attachment:
    """Keeps the program attached to one interface."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self._mode = bpf.XDP_FLAGS_DRV_MODE

    def is_attached(self, program: int) -> bool:
        """Whether exactly this program (a file descriptor) is attached."""
        try:
            ifindex = self.find()
        except SystemFailure:
            return False
        return bpf.attached_xdp(ifindex, self._mode) == bpf.program_id(program)

    def enforce(self, program: int) -> tuple[str, ...]:
        """Attach unless it is attached, in place of whatever program is there. Returns a sentence if it was not."""
        ifindex = self.find()
        if bpf.attached_xdp(ifindex, self._mode) == bpf.program_id(program):
            return ()
        try:
            bpf.attach_xdp(ifindex, program, self._mode)
        except SystemFailure:
            if self._mode == bpf.XDP_FLAGS_SKB_MODE:
                raise
            self._mode = bpf.XDP_FLAGS_SKB_MODE
            bpf.attach_xdp(ifindex, program, self._mode)
            return (
                f"The driver of {self.interface} refuses native XDP: attached in generic mode, which is slow. "
                f"Run `ethtool -K {self.interface} gro off`, or large uploads will stall.",
            )
        return (f"Attached the XDP program to {self.interface}.",)

    def find(self) -> int:
        """The interface's index. Raises SystemFailure when there is none of that name."""
        try:
            return socket.if_nametoindex(self.interface)
        except OSError as error:
            raise SystemFailure(
                f"There is no interface {self.interface}: create it, or set BASCULE_INTERFACES to the ones to balance."
            ) from error

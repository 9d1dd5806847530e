"""Compile the BPF objects and the Maglev library before a wheel or an editable install is made."""

from __future__ import annotations

import subprocess
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs `make native`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  hatchling's signature
        """Called by hatchling before it collects files."""
        subprocess.run(["make", "--silent", "native"], cwd=self.root, check=True)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

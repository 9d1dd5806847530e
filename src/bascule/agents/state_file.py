"""What an agent must not forget, in one JSON file that is always whole.

A write goes to a second file, is flushed to the disk, and takes the first one's place in one step: after a crash at
any moment the file holds either the old state or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from bascule.model.errors import SystemFailure

VERSION = 1

S = TypeVar("S")


class StateFile(Generic[S]):
    """One state on disk. `kind` says how it looks in JSON, `empty` what holds before the first save."""

    def __init__(self, path: Path, kind: TypeAdapter[S], empty: Callable[[], S]) -> None:
        self.path = path
        self._kind = kind
        self._empty = empty

    def load(self) -> tuple[S, str | None]:
        """The saved state, and a sentence when there was one that could not be read.

        Such a file is set aside as `….corrupt`, so that a human can look at it and the agent can go on.
        """
        try:
            return self._parse(self.path.read_bytes()), None
        except FileNotFoundError:
            return self._empty(), None
        except ValidationError as error:
            return self._empty(), self._set_aside(f"{error.error_count()} of its fields are wrong")
        except (OSError, ValueError) as error:
            return self._empty(), self._set_aside(str(error))

    def _parse(self, content: bytes) -> S:
        document = json.loads(content)
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise ValueError(f"it is not of version {VERSION}")
        # Through JSON again, because that is where pydantic reads addresses and identifiers from text.
        return self._kind.validate_json(json.dumps(document.get("state")))

    def _set_aside(self, reason: str) -> str:
        aside = self.path.with_name(self.path.name + ".corrupt")
        try:
            self.path.replace(aside)
        except OSError as error:
            return f"Cannot read {self.path} ({reason}) nor set it aside ({error.strerror}): look at the disk."
        return f"A state file could not be read ({reason}) and is now {aside}: the control plane will send it again."

    def save(self, state: S) -> None:
        """Replace the saved state. Raises SystemFailure when the disk refuses; the old state is then still there."""
        document = {"version": VERSION, "state": self._kind.dump_python(state, mode="json")}
        half = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with half.open("w") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            half.replace(self.path)
            _flush_directory(self.path.parent)
        except OSError as error:
            with suppress(OSError):
                half.unlink()
            raise SystemFailure(
                f"Cannot save {self.path}: {error.strerror}. Nothing was changed: repair the disk, then try again."
            ) from error


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

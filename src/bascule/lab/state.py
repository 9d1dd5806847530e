"""What a lab is, on disk: its shape, its API's port and its secrets, under one directory that goes with it."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from bascule.lab.moves import moved
from bascule.lab.shape import Shape
from bascule.lab.topology import Role, Topology, data_centre
from bascule.model.errors import InUse, InvalidInput, NotFound

LABS = Path("/run/bascule/lab")
_PATIENCE = 1.0
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A lab's facts. `hosts_only` means no agents and no control plane: the network, the router and the instances.

    `instance_pools` are the identifiers of its pools, by family. `homes` are the hypervisors of instances that moved.
    """

    name: str
    shape: Shape = Shape()
    hosts_only: bool = False
    api_port: int = 0
    admin_token: str = ""
    agent_tokens: dict[str, str] = field(default_factory=dict)
    api_key: str = ""
    api_secret: str = ""
    instance_pools: dict[int, str] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)

    @property
    def topology(self) -> Topology:
        """The data centre of this lab."""
        found = data_centre(self.shape)
        for instance, hypervisor in self.homes.items():
            found = moved(found, instance, hypervisor)
        return found

    @property
    def directory(self) -> Path:
        """Where everything of this lab lies."""
        return LABS / self.name

    @property
    def api_url(self) -> str:
        """Where its API answers."""
        return f"http://127.0.0.1:{self.api_port}"

    def folder(self, host: str) -> Path:
        """Where the files of one host lie."""
        return self.directory / host


_LAB = TypeAdapter(Lab)


def new_lab(name: str, shape: Shape, *, hosts_only: bool) -> Lab:
    """Give a lab its port and secrets."""
    nodes = [host.name for host in data_centre(shape).hosts if host.role in (Role.LB_NODE, Role.HYPERVISOR)]
    return Lab(
        name=checked(name),
        shape=shape,
        hosts_only=hosts_only,
        api_port=_free_port(),
        admin_token=secrets.token_hex(16),
        agent_tokens={node: secrets.token_hex(16) for node in nodes},
    )


def checked(name: str) -> str:
    """The name, or InvalidInput: it becomes a part of paths and namespaces."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} cannot name a lab: take up to 24 small letters, digits and dashes.", field="name")
    return name


def save(lab: Lab) -> None:
    """Write the facts so that a reader sees the old or the new, never a part."""
    lab.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = lab.directory / ".topology.json"
    draft.touch(mode=0o600)
    draft.write_bytes(_LAB.dump_json(lab, indent=2))
    draft.replace(lab.directory / "topology.json")


def open_to(lab: Lab, user: str) -> None:
    """Let a user of the machine pass through the lab's directory to what is its own; it cannot look around."""
    os.chown(lab.directory, -1, pwd.getpwnam(user).pw_gid)
    lab.directory.chmod(0o710)


def load(name: str) -> Lab:
    """Read the facts. Raises NotFound when there is no such lab."""
    try:
        return _LAB.validate_json((LABS / checked(name) / "topology.json").read_bytes())
    except FileNotFoundError:
        raise NotFound(f"There is no lab {name}: build it with `bascule lab up --name {name}`.") from None


def exists(name: str) -> bool:
    """Whether anything of the lab is on disk, whole or not."""
    return (LABS / checked(name)).exists()


def forget(name: str) -> None:
    """Remove everything on disk, and the directories above once they are empty."""
    shutil.rmtree(LABS / name, ignore_errors=True)


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Hold the lab's lock, which the kernel releases if we die. Raises InUse when another command holds it."""
    LABS.mkdir(parents=True, exist_ok=True)
    path = LABS / f"{checked(name)}.lock"
    handle = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path) -> int:
    # A child of a killed holder keeps the lock until it has become the program it is to run: a moment, not more.
    end = time.monotonic() + _PATIENCE
    while not (held := _try_lock(path)) and time.monotonic() < end:
        time.sleep(0.02)
    if not held:
        raise InUse(f"Another command is changing lab {path.stem}: wait until it has ended.")
    return held


def _try_lock(path: Path) -> int:
    """A handle that holds the lock, 0 when somebody else does."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us removes the file when done: a lock on a removed file keeps nobody out.
        if os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
    os.close(handle)
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

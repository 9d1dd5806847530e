"""Settings of the processes, read from the environment (`BASCULE_…`), systemd's EnvironmentFile or the lab.

A wrong or missing setting stops the process at once with the variable named.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bascule.model.errors import InvalidInput


def _words(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Networks = Annotated[tuple[IPv4Network, ...], NoDecode, BeforeValidator(_words)]


class Settings(BaseSettings):
    """What every process shares."""

    model_config = SettingsConfigDict(env_prefix="BASCULE_", extra="ignore")

    log_format: Literal["json", "text"] = "text"


class ControlPlaneSettings(Settings):
    """The API and the orchestrator share one database."""

    database_url: str = "sqlite:////var/lib/bascule/bascule.db"


class ApiSettings(ControlPlaneSettings):
    """The API process."""

    api_listen: str = "127.0.0.1:8080"
    admin_token: str = Field(min_length=16)
    zone: str = "home-1"
    public_url: str = ""


class OrchestratorSettings(ControlPlaneSettings):
    """The orchestrator process. Durations are seconds."""

    worker_name: str = "orchestrator"
    workers: int = 4
    sweep_interval: float = 60.0
    watch_interval: float = 1.0
    lease_duration: float = 15.0


class AgentSettings(Settings):
    """What both agents share. `agent_token` is the bearer token the control plane was told at registration."""

    # It names folders and files, so it must be a plain word.
    node_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    agent_listen: str = "127.0.0.1:7701"
    agent_token: str = Field(min_length=16)
    state_dir: Path = Path("/var/lib/bascule")
    bpf_dir: Path = Path("/sys/fs/bpf/bascule")
    enforce_interval: float = 1.0


class LBAgentSettings(AgentSettings):
    """The LB agent. `tunnel_source` is the shared outer source prefix, at least 16 host bits wide."""

    dataplane: Literal["xdp", "fake"] = "xdp"
    interfaces: Words = ("eth0",)
    tunnel_source: IPv4Network = IPv4Network("10.99.0.0/16")
    max_services: int = 256
    announcer: Literal["bgp", "fake"] = "bgp"
    run_dir: Path = Path("/run/bascule")
    bgp_local_as: int = 65001
    bgp_router_id: IPv4Address = IPv4Address("127.0.0.1")
    # "192.0.2.1/65000 192.0.2.2/65000": the routers and their AS numbers
    bgp_neighbors: Words = ()
    bfd_interval_ms: int = 300
    bfd_multiplier: int = 3


class HypervisorAgentSettings(AgentSettings):
    """The hypervisor agent. Tunnels are accepted from `tunnel_sources` only."""

    forwarding: Literal["ebpf", "fake"] = "ebpf"
    uplinks: Words = ("eth0",)
    tunnel_sources: Networks = (IPv4Network("10.99.0.0/16"),)
    # The largest inner packet that still fits the path from the LB nodes once 20 bytes of tunnel are added.
    tunnel_mtu: int = 1480


S = TypeVar("S", bound=Settings)


def describe(kind: type[Settings]) -> str:
    """The settings of a process with their defaults, one a line, for `--help`."""
    lines = []
    for name, field in kind.model_fields.items():
        default = "required" if field.is_required() else f"default: {_written(field.get_default())}"
        lines.append(f"  BASCULE_{name.upper()}  ({default})")
    return "Settings, read from the environment:\n" + "\n".join(lines)


def _written(default: object) -> str:
    """A default as one would write it in the environment."""
    words = default if isinstance(default, tuple) else (default,)
    return " ".join(str(word) for word in words) or "empty"


def load(kind: type[S]) -> S:
    """Read the settings from the environment. Raises InvalidInput that names the variable."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        variable = "BASCULE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise InvalidInput(f"{variable}: {first['msg']}. Set it in the environment.", field=variable) from error

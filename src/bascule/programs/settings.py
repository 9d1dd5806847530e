"""Settings of the processes, read from the environment (`BASCULE_…`), systemd's EnvironmentFile or the lab.

A wrong or missing setting stops the process at once with the variable named. The sentence below each setting is what
`--help` and `docs/reference/settings.md` say about it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bascule.model.addresses import IPNetwork
from bascule.model.draining import DRAIN_DEADLINE
from bascule.model.errors import InvalidInput
from bascule.wire.fields import plain_text


def _words(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
# Divided by spaces only, because a URL may hold commas; never printed, because it holds a password or a key.
SecretWords = Annotated[
    tuple[SecretStr, ...], NoDecode, BeforeValidator(lambda value: value.split() if isinstance(value, str) else value)
]
Networks = Annotated[tuple[IPNetwork, ...], NoDecode, BeforeValidator(_words)]

Addresses = Annotated[tuple[IPv4Address | IPv6Address, ...], NoDecode, BeforeValidator(_words)]


class Settings(BaseSettings):
    """What every process shares."""

    model_config = SettingsConfigDict(env_prefix="BASCULE_", extra="ignore", use_attribute_docstrings=True)

    log_format: Literal["json", "text"] = "text"
    """How log lines look."""


_TOPIC = r"^[A-Za-z0-9._-]{1,240}$"


class ControlPlaneSettings(Settings):
    """The API and the orchestrator share one database."""

    database_url: str = "sqlite:////var/lib/bascule/bascule.db"
    """Where the expected state is kept; the same for the API and every orchestrator. Or postgresql+psycopg://…"""
    drain_deadline: float = Field(default=DRAIN_DEADLINE, ge=0, le=604_800)
    """Seconds for which an instance, or an LB node, that drains keeps its connections at most; 0 is not at all."""


class ApiSettings(ControlPlaneSettings):
    """The API process."""

    api_listen: str = "127.0.0.1:8080"
    """Address and port to listen on."""
    admin_token: str = Field(min_length=16)
    """Bearer token of the operators' API, at least 16 characters (`openssl rand -hex 32`)."""
    zone: str = "home-1"
    """Name of the zone this API serves."""
    public_url: str = ""
    """Where clients reach the API, when it is not where it listens."""


class KafkaSettings(Settings):
    """The bus between machines."""

    kafka_servers: Words = ()
    """Kafka brokers as host:port; without any, nothing is heard and nothing published (needs `bascule[kafka]`)."""
    kafka_reports_topic: str = Field(default="bascule.agent-reports", pattern=_TOPIC)
    """Topic of what agents report by themselves; what nobody proves goes to the one with .dead behind it."""
    kafka_partitions: int = Field(default=6, ge=1)
    """How many partitions a topic gets that does not exist yet."""
    kafka_replicas: int = Field(default=1, ge=1)
    """How many brokers keep a topic that does not exist yet."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How brokers are spoken to."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How we say who we are (SASL_…)."""
    kafka_username: str | None = None
    """Who we are (SASL_…)."""
    kafka_password: str | None = Field(default=None, repr=False)
    """And how that is proven."""
    kafka_ca_file: Path | None = None
    """Whom brokers' certificates must be from (PEM); the machine's own authorities without it."""


class OrchestratorSettings(ControlPlaneSettings, KafkaSettings):
    """The orchestrator process."""

    kafka_group: str = Field(default="bascule", min_length=1)
    """Consumer group that all orchestrators of one database share."""
    kafka_machines_topic: str = Field(default="bascule.machines", pattern=_TOPIC)
    """Topic of machine events; what cannot be obeyed goes to the topic of this name with .dead behind it."""
    worker_name: str = "orchestrator"
    """Name in leases; two processes on one database need two names."""
    workers: int = Field(default=4, ge=1)
    """How many load balancers are reconciled side by side."""
    sweep_interval: float = Field(default=60.0, gt=0)
    """Every load balancer is compared with its nodes once in so many seconds, and reconciled when they differ."""
    watch_interval: float = Field(default=1.0, gt=0)
    """Seconds between two looks at the agents."""
    replace_after: float = Field(default=300.0, gt=0)
    """Seconds of silence after which an LB node counts as dead: others take over what it carries."""
    replace_share: float = Field(default=0.25, gt=0, le=1)
    """The part of all LB nodes that may count as dead at once, one at least; when more are silent, none is replaced."""
    lease_duration: float = Field(default=15.0, gt=0)
    """Seconds after which another worker takes over from one that died."""
    page_after: int = Field(default=5, ge=1)
    """After so many failures in a row of one load balancer humans are told, once; and again when it recovers."""
    page_urls: SecretWords = ()
    """Whom to tell: Apprise's URLs (appriseit.com/services) with spaces between, as pagerduty://KEY@KEY?action=map."""
    jobs_kept: int = Field(default=20, ge=1)
    """How many jobs of each load balancer `bascule job list` can show."""
    jobs_kept_days: float = Field(default=30.0, gt=0)
    """For how many days at most."""
    audit_interval: float = Field(default=30.0, gt=0)
    """Seconds between two comparisons of all that agents report with the expected state."""
    drift_kept_days: float = Field(default=30.0, gt=0)
    """How many days a difference that is over is remembered."""
    drift_quarantine_after: int = Field(default=3, ge=1)
    """A difference that comes back after so many reconciliations is quarantined: drift asks for no more, and pages."""
    drift_quarantine_hours: float = Field(default=1.0, gt=0)
    """Within so many hours; and after as many without a difference a quarantine is over."""
    metrics_listen: str = Field(default="", pattern=r"^$|^.+:[0-9]{1,5}$")
    """Address and port to answer Prometheus on; without it, nobody is answered."""


class AgentSettings(KafkaSettings):
    """What both agents share."""

    node_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """This machine's name, as the control plane knows it."""
    agent_listen: str = "127.0.0.1:7701"
    """Address and port for the control plane; not on a public network."""
    agent_token: str = Field(min_length=16)
    """Bearer token that the control plane was told at registration, at least 16 characters."""
    state_dir: Path = Path("/var/lib/bascule")
    """Where the last desired state is kept."""
    bpf_dir: Path = Path("/sys/fs/bpf/bascule")
    """Where BPF maps are pinned; mounted if it is not on a bpf file system."""
    enforce_interval: float = Field(default=1.0, gt=0)
    """Seconds between two comparisons of the kernel with the desired state."""
    report_interval: float = Field(default=60.0, ge=1, le=86_400)
    """Seconds between two reports published to Kafka; what changes is published at once."""
    registered_name: Annotated[str, AfterValidator(plain_text)] = Field(default="", max_length=255)
    """This machine's name in published reports, where it was registered under another than BASCULE_NODE_NAME."""


class LBAgentSettings(AgentSettings):
    """The LB agent."""

    dataplane: Literal["xdp", "ipvs", "keepalived", "fake"] = "xdp"
    """What forwards packets: our XDP program, the kernel's IPVS, or IPVS kept by keepalived, which checks instances."""
    interfaces: Words = ("eth0",)
    """Interfaces on which clients' packets arrive (xdp)."""
    tunnel_source: IPv4Network = IPv4Network("10.99.0.0/16")
    """Outer source of tunnels, shared by all LB nodes; varies with the flow (xdp, 16 bits) or the VIP (keepalived)."""
    tunnel_source_v6: IPv6Network = IPv6Network("fd00:ba5c:1::/64")
    """The same for tunnels to IPv6 addresses; the last 32 bits vary with the flow (xdp) or the VIP (keepalived)."""
    max_services: int = Field(default=256, ge=1)
    """How many services fit; each takes 0.3 MB of kernel memory (xdp)."""
    second_chance: bool = True
    """Send a flow that may be with either of two instances to both in turn (xdp). Upgrade hypervisors before: older
    releases drop such packets; set it to false while there are some."""
    vip_interface: str = Field(default="bascule-ipvs", pattern=r"^[^\s/:]{1,15}$")
    """Interface that holds the addresses (ipvs); becomes a dummy link if it is missing."""
    tcp_timeout: int = Field(default=900, ge=1, le=86400)
    """Seconds of silence after which an open TCP connection is forgotten (ipvs)."""
    tcp_fin_timeout: int = Field(default=120, ge=1, le=86400)
    """The same for a TCP connection that one side has closed (ipvs)."""
    udp_timeout: int = Field(default=300, ge=1, le=86400)
    """The same for a flow of UDP: its next datagram is balanced anew (ipvs)."""
    start_hold: float = Field(default=5.0, ge=0, le=3600)
    """Seconds that a machine which comes back with nothing announced waits for the control plane before it announces
    what its disk says."""
    announcer: Literal["bgp", "vrrp", "fake"] = "bgp"
    """What draws packets to this node: BIRD tells routers, or keepalived lets one node of a segment have an address."""
    run_dir: Path = Path("/run/bascule")
    """Where the configurations and control files of BIRD and keepalived are."""
    bgp_local_as: int = Field(default=65001, ge=1, le=2**32 - 1)
    """Our AS number."""
    bgp_router_id: IPv4Address = IPv4Address("127.0.0.1")
    """BIRD's router id; unique among neighbours."""
    bgp_neighbors: Words = ()
    """Routers as address/AS, such as 192.0.2.1/65000 or 2001:db8::1/65000; a VIP needs one of its own family."""
    bgp_password_file: Path | None = None
    """A file whose first line is the password of every BGP session (TCP MD5, RFC 2385); routers must have the same."""
    bgp_ttl_security: bool = False
    """Whether BGP is spoken only with who is one hop away (GTSM, RFC 5082); routers must do the same."""
    bgp_prepend: int = Field(default=0, ge=0, le=10)
    """How many times more our AS number is named: routers send to this node only while nobody with fewer is left."""
    bgp_grace: float = Field(default=0.5, ge=0, le=5)
    """Seconds for which an address that leaves is announced as a last resort (RFC 8326) before it is withdrawn."""
    bfd_interval_ms: int = Field(default=300, ge=10, le=60_000)
    """Milliseconds between two BFD packets."""
    bfd_multiplier: int = Field(default=3, ge=2, le=255)
    """So many lost BFD packets mean that the neighbour is gone."""
    vrrp_interface: str = "eth0"
    """Interface that gets the addresses (vrrp)."""
    vrrp_nodes: Addresses = ()
    """Addresses of all nodes that share the load balancers, one of a family each; the same on every node (vrrp)."""
    vrrp_ids: str = "1-255"
    """Router ids on this segment that are ours; as many addresses that follow one another can be announced (vrrp)."""
    vrrp_advert_ms: int = 200
    """Milliseconds between adverts, in tens; a peer takes over after three and a bit. The same on every node (vrrp)."""
    vrrp_preempt: bool = True
    """Whether an address goes back to the node that it prefers, so that the nodes share the load again (vrrp)."""
    vrrp_preempt_delay: int = 0
    """Seconds that such a node waits before (vrrp)."""
    vrrp_hops: int = 1
    """How many links lie between two nodes at the most; adverts from further away are not obeyed (vrrp)."""
    vrrp_gateways: Addresses = ()
    """Gateway of a family by which packets from its addresses leave, of no others (vrrp); without, the usual routes."""
    vrrp_table: int = 7100
    """Those routes are in the table of this number plus the router id, and go with the address (vrrp)."""
    vrrp_rule_priority: int = 7900
    """Priority of the rules that lead there (vrrp)."""
    vrrp_repeats: int = 3
    """How many gratuitous ARPs or neighbour advertisements a new master sends at once, and a second later (vrrp)."""
    vrrp_refresh: int = 60
    """A master sends one again after so many seconds; 0 is never (vrrp)."""
    vrrp_hold: int = Field(default=20, ge=6, le=86_400)
    """Without an agent, keepalived gives addresses up after half of so many seconds, the kernel after all (vrrp)."""
    vrrp_notify: Path | None = None
    """A script of root's that keepalived runs with INSTANCE, the address's name, its new state and priority (vrrp)."""
    vrrp_mail_to: Words = ()
    """Mailboxes that keepalived tells of new states (vrrp)."""
    vrrp_mail_from: str = "bascule@localhost"
    """Whom such mail is from (vrrp)."""
    vrrp_mail_server: str = "127.0.0.1:25"
    """Host and port that take it (vrrp)."""
    lease: float = Field(default=0.0, ge=0)
    """Seconds without a word of the control plane after which this node gives its addresses up; 0 is never (vrrp)."""
    check_scripts_dir: Path = Path("/etc/bascule/checks")
    """Where the scripts are that health checks may name; it and they are root's, and nobody else's to write."""
    notify_script: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """A script there that is run when a backend or a service goes up or down."""
    check_ca_file: Path | None = None
    """Whom verified certificates of instances must be from (PEM); the machine's own authorities without it."""


class HypervisorAgentSettings(AgentSettings):
    """The hypervisor agent."""

    forwarding: Literal["ebpf", "netfilter", "fake"] = "ebpf"
    """What decapsulates and translates: tc programs alone, or the kernel's own NAT behind one that decapsulates."""
    uplinks: Words = ("eth0",)
    """Interfaces on which tunnels arrive."""
    tunnel_sources: Networks = (IPv4Network("10.99.0.0/16"), IPv6Network("fd00:ba5c:1::/64"))
    """Prefixes, of IPv4 and IPv6, from which tunnels are accepted: the LB nodes' outer sources."""
    tunnel_mtu: int = 1480
    """The longest IPv4 packet, in bytes, that fits the path from the LB nodes once tunnelled; of IPv6, 20 fewer."""


S = TypeVar("S", bound=Settings)


def describe(kind: type[Settings]) -> str:
    """The settings of a process with their defaults and what they mean, for `--help`."""
    lines = []
    for name, field in kind.model_fields.items():
        default = "required" if field.is_required() else f"default: {_written(field.get_default())}"
        lines.append(f"  BASCULE_{name.upper()} ({default})\n      {field.description}")
    return "Settings, read from the environment:\n" + "\n".join(lines)


def _written(default: object) -> str:
    """A default as one would write it in the environment."""
    words = default if isinstance(default, tuple) else (default,) if default is not None else ()
    return " ".join(str(word) for word in words) or "empty"


def load(kind: type[S]) -> S:
    """Read the settings from the environment. Raises InvalidInput that names the variable."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        variable = "BASCULE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise InvalidInput(f"{variable}: {first['msg']}. Set it in the environment.", field=variable) from error

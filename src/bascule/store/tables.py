"""Every table of the expected state. Migrations in `migrations/` build exactly these (a test compares them).

Identifiers are UUIDs as text and addresses text, so that SQLite and PostgreSQL agree; times are seconds since
the epoch.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from bascule.orchestration import tables as orchestration_tables

# Names for constraints, so that a later migration can drop them by name on every database.
NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)
_ID = String(36)


def _noun(name: str, *columns: Column[object] | UniqueConstraint) -> Table:
    return Table(name, metadata, Column("id", _ID, primary_key=True), *columns)


lb_nodes = _noun(
    "lb_nodes",
    Column("name", String(255), nullable=False, unique=True),
    Column("agent_url", String(255), nullable=False),
    Column("agent_token", String(255), nullable=False),
    Column("failure_domain", String(255), nullable=False, default=""),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("data_plane", String(16), nullable=False, server_default="xdp"),
    # It is disabled, and serves what still comes until then at most.
    Column("drain_until", Float, nullable=True),
    # When the watch last wrote down what it has (`node_states`).
    Column("seen_at", Float, nullable=True),
    Column("labels", JSON, nullable=False, default=dict, server_default=text("'{}'")),
    # Since when no watch has heard it, and what becomes of it (`bascule.model.nodes.Silence`).
    Column("silent_since", Float, nullable=True),
    Column("silence", String(16), nullable=False, default="", server_default=""),
)

hypervisors = _noun(
    "hypervisors",
    Column("name", String(255), nullable=False, unique=True),
    Column("agent_url", String(255), nullable=False),
    Column("agent_token", String(255), nullable=False),
)

address_pools = _noun(
    "address_pools",
    Column("name", String(255), nullable=False, unique=True),
    Column("network", String(64), nullable=False, unique=True),
)

load_balancers = _noun(
    "load_balancers",
    Column("name", String(255), nullable=False),
    Column("description", String(255), nullable=False, default=""),
    Column("labels", JSON, nullable=False, default=dict),
    # An unsigned 64-bit number as text: SQL integers are signed.
    Column("hash_seed", String(20), nullable=False),
    Column("state", String(16), nullable=False),
    Column("generation", Integer, nullable=False, default=1),
    Column("created_at", Float, nullable=False),
    Column("node_count", Integer, nullable=False, default=2, server_default="2"),
    # Labels that its LB nodes must have.
    Column("affinity", JSON, nullable=False, default=dict, server_default=text("'{}'")),
    # Load balancers of one group avoid each other's LB nodes; empty is no group.
    Column("anti_affinity", String(255), nullable=False, default="", server_default=""),
)

# One address, one row: the unique constraint is what makes an address belong to one holder at most.
elastic_ips = _noun(
    "elastic_ips",
    Column("address", String(64), nullable=False, unique=True),
    Column("description", String(255), nullable=False, default=""),
    Column("labels", JSON, nullable=False, default=dict),
    Column("address_pool_id", _ID, ForeignKey("address_pools.id"), nullable=False),
    Column("load_balancer_id", _ID, ForeignKey("load_balancers.id"), nullable=True, unique=True),
    # An address that came with its load balancer goes with it; one a user created stays.
    Column("managed", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
)

instance_pools = _noun(
    "instance_pools",
    Column("name", String(255), nullable=False),
    Column("description", String(255), nullable=False, default=""),
    Column("labels", JSON, nullable=False, default=dict),
    Column("size", Integer, nullable=True),
    # Fields of the public API that only a hypervisor's own manager uses; kept so that they read back as written.
    Column("template", JSON, nullable=False, default=dict),
    Column("created_at", Float, nullable=False),
)

instances = _noun(
    "instances",
    Column("instance_pool_id", _ID, ForeignKey("instance_pools.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("address", String(64), nullable=False, unique=True),
    Column("hypervisor_id", _ID, ForeignKey("hypervisors.id"), nullable=False),
    Column("weight", Integer, nullable=False, default=1),
    # None leaves it to the services.
    Column("forwarding_method", String(16), nullable=True),
    Column("evicted", Boolean, nullable=False, default=False),
    # Said by machine events alone, as `evicted` and `weight` are by people alone.
    Column("stopped", Boolean, nullable=False, default=False, server_default=false()),
    # Said by people: it takes no new connections. And: its row goes as soon as it has no connections to keep.
    Column("drained", Boolean, nullable=False, server_default=false()),
    Column("leaving", Boolean, nullable=False, server_default=false()),
    # Until when it keeps its connections; None when it serves, or has none to keep.
    Column("drain_until", Float, nullable=True),
    # The hypervisor that gets ready for it before it moves there.
    Column("moving_to_id", _ID, nullable=True),
    # Order of registration: the oldest members serve first when the size caps the pool.
    Column("position", Integer, nullable=False),
)

services = _noun(
    "services",
    Column("load_balancer_id", _ID, ForeignKey("load_balancers.id"), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", String(255), nullable=False, default=""),
    Column("protocol", String(8), nullable=False),
    Column("port", Integer, nullable=False),
    Column("target_port", Integer, nullable=False),
    Column("strategy", String(32), nullable=False),
    Column("hash_source_port", Boolean, nullable=False, default=True),
    Column("forwarding_method", String(16), nullable=False, server_default="tunnel"),
    # Seconds; None is no persistence.
    Column("persistence_timeout", Integer, nullable=True),
    Column("persistence_prefix_length", Integer, nullable=True),
    Column("instance_pool_id", _ID, ForeignKey("instance_pools.id"), nullable=False, index=True),
    Column("health_check", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("position", Integer, nullable=False),
    UniqueConstraint("load_balancer_id", "protocol", "port", name="uq_services_endpoint"),
)

placements = Table(
    "placements",
    metadata,
    Column("load_balancer_id", _ID, ForeignKey("load_balancers.id"), primary_key=True),
    Column("lb_node_id", _ID, ForeignKey("lb_nodes.id"), primary_key=True),
    # It shall not carry it any more, and has not confirmed that it does not.
    Column("leaving", Boolean, nullable=False, server_default=false()),
)

operations = _noun(
    "operations",
    Column("command", String(64), nullable=False),
    Column("reference_kind", String(32), nullable=False),
    Column("reference_id", _ID, nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(16), nullable=True),
    Column("message", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
)

# Which generation of which entity an operation still waits for; it succeeds when its last row is gone.
awaited = Table(
    "awaited",
    metadata,
    Column("operation_id", _ID, ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("entity_id", _ID, primary_key=True, index=True),
    Column("generation", Integer, nullable=False),
)

# Load balancers that are gone. An agent that was silent while one was deleted still carries it when it comes back:
# only what stands here is taken off, never what is merely unknown (this may be the wrong or an older database).
tombstones = Table(
    "tombstones",
    metadata,
    Column("load_balancer_id", _ID, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("deleted_at", Float, nullable=False),
)

# The rules by which LB nodes may send: what they were told and what they are about to be told. `generation` is the one
# whose rules these are, and no others; NULL while a node may still use older ones.
given_rules = Table(
    "given_rules",
    metadata,
    Column("load_balancer_id", _ID, primary_key=True),
    Column("generation", Integer, nullable=True),
    Column("rules", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    # Kept readable, because verifying an HMAC needs the secret itself.
    Column("secret", String(128), nullable=False),
    Column("created_at", Float, nullable=False),
)

# The last verdict each LB node gave on each instance of each service, as the watcher read it from the agents.
health_statuses = Table(
    "health_statuses",
    metadata,
    Column("lb_node_id", _ID, primary_key=True),
    Column("service_id", _ID, primary_key=True),
    Column("instance_id", _ID, primary_key=True),
    Column("health", String(16), nullable=False),
    Column("message", Text, nullable=False, default=""),
    Column("observed_at", Float, nullable=False),
)

# What each LB node last had of each load balancer, as the watch read it from the agents: a report as JSON.
node_states = Table(
    "node_states",
    metadata,
    Column("lb_node_id", _ID, primary_key=True),
    Column("load_balancer_id", _ID, primary_key=True, index=True),
    Column("state", Text, nullable=False),
)

# The last event of each machine that was obeyed: what is older, or the same once more, is ignored.
machines = Table(
    "machines",
    metadata,
    Column("machine", String(255), primary_key=True),
    Column("instance_id", _ID, nullable=True, index=True),
    Column("kind", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("sequence", BigInteger, nullable=True),
)

# Where a node differed from the expected state, and until when. Names are kept: the node may be gone by now.
drift_findings = _noun(
    "drift_findings",
    # Says what is found where while it lasts, and is empty afterwards: one row at a time for each.
    Column("open_key", String(128), nullable=True, unique=True),
    Column("kind", String(16), nullable=False),
    Column("node_id", _ID, nullable=False),
    Column("node", String(255), nullable=False),
    Column("load_balancer_id", _ID, nullable=False),
    Column("words", Text, nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False, index=True),
    Column("resolved_at", Float, nullable=True),
)

# Audits that operators asked for, and what became of them; whoever does one has claimed it.
drift_audits = _noun(
    "drift_audits",
    Column("node_ids", JSON, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("claimed_until", Float, nullable=True),
    # The moment of which its findings are.
    Column("ended_at", Float, nullable=True),
    Column("answered", JSON, nullable=False),
    Column("silent", JSON, nullable=False),
    Column("unsettled", Integer, nullable=False),
)

# Where drift asks for no reconciliation, for reconciling does not mend it.
drift_quarantines = _noun(
    "drift_quarantines",
    # The node and the load balancer, until an audit has seen that it is released: one row at a time for each.
    Column("open_key", String(128), nullable=True, unique=True),
    Column("node_id", _ID, nullable=False),
    Column("node", String(255), nullable=False),
    Column("load_balancer_id", _ID, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("released_at", Float, nullable=True),
)

orchestration = orchestration_tables.define(metadata)

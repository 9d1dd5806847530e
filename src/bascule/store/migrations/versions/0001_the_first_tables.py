"""The first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "address_pools",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_pools")),
        sa.UniqueConstraint("name", name=op.f("uq_address_pools_name")),
        sa.UniqueConstraint("network", name=op.f("uq_address_pools_network")),
    )
    op.create_table(
        "tombstones",
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("load_balancer_id", name=op.f("pk_tombstones")),
    )
    op.create_table(
        "api_keys",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("secret", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "health_statuses",
        sa.Column("lb_node_id", sa.String(length=36), nullable=False),
        sa.Column("service_id", sa.String(length=36), nullable=False),
        sa.Column("instance_id", sa.String(length=36), nullable=False),
        sa.Column("health", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("observed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("lb_node_id", "service_id", "instance_id", name=op.f("pk_health_statuses")),
    )
    op.create_table(
        "hypervisors",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("agent_url", sa.String(length=255), nullable=False),
        sa.Column("agent_token", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hypervisors")),
        sa.UniqueConstraint("name", name=op.f("uq_hypervisors_name")),
    )
    op.create_table(
        "instance_pools",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=True),
        sa.Column("template", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance_pools")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("entity_id", sa.String(length=36), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_entity", ["kind", "entity_id", "started_at"], unique=False)

    op.create_table(
        "lb_nodes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("agent_url", sa.String(length=255), nullable=False),
        sa.Column("agent_token", sa.String(length=255), nullable=False),
        sa.Column("failure_domain", sa.String(length=255), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lb_nodes")),
        sa.UniqueConstraint("name", name=op.f("uq_lb_nodes_name")),
    )
    op.create_table(
        "load_balancers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("hash_seed", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_load_balancers")),
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("command", sa.String(length=64), nullable=False),
        sa.Column("reference_kind", sa.String(length=32), nullable=False),
        sa.Column("reference_id", sa.String(length=36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_operations_reference_id"), ["reference_id"], unique=False)

    op.create_table(
        "reconciliations",
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("entity_id", sa.String(length=36), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("requested", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("lease_holder", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "entity_id", name=op.f("pk_reconciliations")),
    )
    with op.batch_alter_table("reconciliations", schema=None) as batch_op:
        batch_op.create_index("ix_reconciliations_due", ["priority", "due_at"], unique=False)

    op.create_table(
        "elastic_ips",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("address_pool_id", sa.String(length=36), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=36), nullable=True),
        sa.Column("managed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["address_pool_id"], ["address_pools.id"], name=op.f("fk_elastic_ips_address_pool_id_address_pools")
        ),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name=op.f("fk_elastic_ips_load_balancer_id_load_balancers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_elastic_ips")),
        sa.UniqueConstraint("address", name=op.f("uq_elastic_ips_address")),
        sa.UniqueConstraint("load_balancer_id", name=op.f("uq_elastic_ips_load_balancer_id")),
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("instance_pool_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("hypervisor_id", sa.String(length=36), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("evicted", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hypervisor_id"], ["hypervisors.id"], name=op.f("fk_instances_hypervisor_id_hypervisors")
        ),
        sa.ForeignKeyConstraint(
            ["instance_pool_id"],
            ["instance_pools.id"],
            name=op.f("fk_instances_instance_pool_id_instance_pools"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("address", name=op.f("uq_instances_address")),
    )
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_instances_instance_pool_id"), ["instance_pool_id"], unique=False)

    op.create_table(
        "awaited",
        sa.Column("operation_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("entity_id", sa.String(length=36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["operation_id"],
            ["operations.id"],
            name=op.f("fk_awaited_operation_id_operations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("operation_id", "kind", "entity_id", name=op.f("pk_awaited")),
    )
    with op.batch_alter_table("awaited", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_awaited_entity_id"), ["entity_id"], unique=False)

    op.create_table(
        "job_steps",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("path", sa.String(length=128), nullable=False),
        sa.Column("node", sa.String(length=16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_steps_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "path", name=op.f("pk_job_steps")),
    )
    op.create_table(
        "placements",
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("lb_node_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["lb_node_id"], ["lb_nodes.id"], name=op.f("fk_placements_lb_node_id_lb_nodes")),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name=op.f("fk_placements_load_balancer_id_load_balancers")
        ),
        sa.PrimaryKeyConstraint("load_balancer_id", "lb_node_id", name=op.f("pk_placements")),
    )
    op.create_table(
        "services",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("protocol", sa.String(length=8), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("target_port", sa.Integer(), nullable=False),
        sa.Column("strategy", sa.String(length=32), nullable=False),
        sa.Column("hash_source_port", sa.Boolean(), nullable=False),
        sa.Column("instance_pool_id", sa.String(length=36), nullable=False),
        sa.Column("health_check", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_pool_id"], ["instance_pools.id"], name=op.f("fk_services_instance_pool_id_instance_pools")
        ),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name=op.f("fk_services_load_balancer_id_load_balancers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
        sa.UniqueConstraint("load_balancer_id", "protocol", "port", name="uq_services_endpoint"),
    )
    with op.batch_alter_table("services", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_services_instance_pool_id"), ["instance_pool_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_services_load_balancer_id"), ["load_balancer_id"], unique=False)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("services", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_services_load_balancer_id"))
        batch_op.drop_index(batch_op.f("ix_services_instance_pool_id"))

    op.drop_table("services")
    op.drop_table("placements")
    op.drop_table("job_steps")
    with op.batch_alter_table("awaited", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_awaited_entity_id"))

    op.drop_table("awaited")
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_instances_instance_pool_id"))

    op.drop_table("instances")
    op.drop_table("elastic_ips")
    with op.batch_alter_table("reconciliations", schema=None) as batch_op:
        batch_op.drop_index("ix_reconciliations_due")

    op.drop_table("reconciliations")
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_operations_reference_id"))

    op.drop_table("operations")
    op.drop_table("load_balancers")
    op.drop_table("lb_nodes")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_entity")

    op.drop_table("jobs")
    op.drop_table("instance_pools")
    op.drop_table("hypervisors")
    op.drop_table("health_statuses")
    op.drop_table("api_keys")
    op.drop_table("tombstones")
    op.drop_table("address_pools")

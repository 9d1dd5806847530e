"""What Alembic runs: the migrations, over the connection that `bascule.store.database.migrate` hands in."""

from __future__ import annotations

from alembic import context

from bascule.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()

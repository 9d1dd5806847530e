"""The history of the tables, one file a step. Written for Alembic; `bascule.store.database.migrate` runs them."""

"""Run by alembic, on the connection and inside the transaction and lock that `store.migrate` holds."""

from alembic import context

from store import schema

context.configure(connection=context.config.attributes["connection"], target_metadata=schema.metadata)
context.run_migrations()

"""The tables as they are now. `migrations/` holds how they came to be; a test keeps the two equal."""

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware time, in UTC on the way in and out; SQLite itself keeps no zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: the store keeps aware times only")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_KEY: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER counts up by itself in SQLite

metadata = sa.MetaData()

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("source", sa.String(50), nullable=False),
    sa.Column("delivery_id", sa.String(200), nullable=False),
    sa.Column("event", sa.String(100), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("handled_at", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.Text, nullable=False),
    sa.UniqueConstraint("source", "delivery_id", name="uq_deliveries_source_delivery_id"),
    sa.Index(
        "ix_deliveries_unhandled",
        "due_at",
        postgresql_where=sa.text("handled_at IS NULL"),
        sqlite_where=sa.text("handled_at IS NULL"),
    ),
)

learnings = sa.Table(
    "learnings",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("repo", sa.String(201), nullable=False),
    sa.Column("kind", sa.String(50), nullable=False),
    sa.Column("run", sa.String(300), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("text_sha256", sa.String(64), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("run", "kind", "text_sha256", name="uq_learnings_run_kind_text"),
    sa.Index("ix_learnings_repo_created_at", "repo", "created_at"),
)

repositories = sa.Table(
    "repositories",
    metadata,
    # Lower case: a forge takes Acme/API and acme/api for one repository.
    sa.Column("key", sa.String(201), primary_key=True),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("added_at", UtcDateTime, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("turn", sa.String(400), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("run", sa.String(300), nullable=False),
    sa.Column("run_id", sa.String(100), nullable=False),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("repo_key", sa.String(201), nullable=False),
    sa.Column("issue", sa.Integer, nullable=False),
    sa.Column("session", sa.String(200), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("type", sa.String(63), nullable=False),
    sa.Column("instance", sa.String(63), nullable=False),
    sa.Column("backend", sa.String(200), nullable=False),
    sa.Column("version", sa.String(200), nullable=False),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("provider", sa.String(200), nullable=False),
    sa.Column("outcome", sa.String(100), nullable=False),
    # Dollars; NULL is a cost that nobody knows. `raw_usd` counts up over a session, `usd` is what the turn added.
    sa.Column("raw_usd", sa.Double),
    sa.Column("usd", sa.Double),
    sa.Column("reserved_usd", sa.Double, nullable=False),
    sa.Column("covers_usd", sa.Double, nullable=False),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("cached_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.UniqueConstraint("turn", name="uq_ledger_turn"),
    sa.Index("ix_ledger_session", "session"),
    sa.Index("ix_ledger_at", "at"),
    sa.Index("ix_ledger_repo_key_at", "repo_key", "at"),
)

workflow_files = sa.Table(
    "workflow_files",
    metadata,
    sa.Column("key", sa.String(201), primary_key=True),  # of the repository, as in `repositories`
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("problem_source", sa.Text, nullable=False),
    sa.Column("read_at", UtcDateTime, nullable=False),
)

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

"""The webhook inbox, the learnings and the registered repositories."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("source", sa.String(50), nullable=False),
        sa.Column("delivery_id", sa.String(200), nullable=False),
        sa.Column("event", sa.String(100), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("handled_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.UniqueConstraint("source", "delivery_id", name="uq_deliveries_source_delivery_id"),
    )
    op.create_index(
        "ix_deliveries_unhandled",
        "deliveries",
        ["due_at"],
        postgresql_where=sa.text("handled_at IS NULL"),
        sqlite_where=sa.text("handled_at IS NULL"),
    )
    op.create_table(
        "learnings",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("repo", sa.String(201), nullable=False),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("run", sa.String(300), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("text_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.UniqueConstraint("run", "kind", "text_sha256", name="uq_learnings_run_kind_text"),
    )
    op.create_index("ix_learnings_repo_created_at", "learnings", ["repo", "created_at"])
    op.create_table(
        "repositories",
        sa.Column("key", sa.String(201), primary_key=True),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("added_at", _TIME, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
    )

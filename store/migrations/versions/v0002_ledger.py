"""The cost ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("turn", sa.String(400), nullable=False),
        sa.Column("at", _TIME, nullable=False),
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
        sa.Column("raw_usd", sa.Double),
        sa.Column("usd", sa.Double),
        sa.Column("reserved_usd", sa.Double, nullable=False),
        sa.Column("covers_usd", sa.Double, nullable=False),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("cached_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.UniqueConstraint("turn", name="uq_ledger_turn"),
    )
    op.create_index("ix_ledger_session", "ledger", ["session"])
    op.create_index("ix_ledger_at", "ledger", ["at"])
    op.create_index("ix_ledger_repo_key_at", "ledger", ["repo_key", "at"])

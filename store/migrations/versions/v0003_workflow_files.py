"""The last good WORKFLOW.md of each repository."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "workflow_files",
        sa.Column("key", sa.String(201), primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("problem_source", sa.Text, nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
    )

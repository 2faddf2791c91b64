"""What earlier runs taught about a repository, in one line each; the newest go into the next prompt."""

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from domain import refs
from store import database, schema, text

TEXT_LIMIT: Final = 500
"""Characters."""

_table = schema.learnings


class Kind(enum.StrEnum):
    """How the run that taught it went."""

    SUCCESS = "success"
    AGENT_FAILURE = "agent_failure"
    VERIFY_FAILURE = "verify_failure"
    CI_FAILURE = "ci_failure"
    REVIEW_REJECTION = "review_rejection"
    SAFETY_BLOCKED = "safety_blocked"


def headline(full: str) -> str:
    """The first line that is not blank, at most `TEXT_LIMIT` characters of it; empty when every line is blank."""
    lines = (line.strip() for line in text.storable(full, len(full)).splitlines())
    return next(filter(None, lines), "")[:TEXT_LIMIT]


class Learning(BaseModel):
    """One lesson. `text` is cut to its `headline`; a blank one is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: refs.Repository
    kind: Kind
    run: str
    """The run's workflow id."""
    text: Annotated[str, BeforeValidator(headline), Field(min_length=1)]
    created_at: datetime


@dataclass(frozen=True)
class Learnings:
    """Every method raises `database.StoreUnavailable` when the database cannot serve it."""

    database: database.Database

    async def record(self, learning: Learning) -> bool:
        """Keep a lesson, once for each run, kind and text; False when it was there."""
        async with self.database.writing() as connection:
            row = await connection.execute(
                database.insert(connection, _table)
                .values(
                    repo=str(learning.repo),
                    kind=learning.kind.value,
                    run=learning.run,
                    text=learning.text,
                    text_sha256=hashlib.sha256(learning.text.encode()).hexdigest(),
                    created_at=learning.created_at,
                )
                .on_conflict_do_nothing(index_elements=["run", "kind", "text_sha256"])
                .returning(_table.c.id)
            )
            return row.scalar_one_or_none() is not None

    async def latest(self, repo: refs.Repository, limit: int) -> Sequence[Learning]:
        """The newest lessons about `repo`, newest first."""
        async with self.database.reading() as connection:
            rows = await connection.execute(
                sa.select(_table.c.kind, _table.c.run, _table.c.text, _table.c.created_at)
                .where(_table.c.repo == str(repo))
                .order_by(_table.c.created_at.desc(), _table.c.id.desc())
                .limit(limit)
            )
            return [Learning(repo=repo, **row) for row in rows.mappings()]

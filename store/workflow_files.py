"""The last good version of each repository's WORKFLOW.md, and what is wrong with the newest one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from domain import refs
from domain.workflow_policy import Source
from store import database, schema, text

PROBLEM_LIMIT: Final = 2000

_table = schema.workflow_files


class Kept(BaseModel):
    """What is known of one repository's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: refs.Repository
    source: Source = Source()
    """Of `text`."""
    text: str | None = None
    """The newest version without a mistake; None: there has been none."""
    problem: str = ""
    """Why the newest version is not that one; empty: it is."""
    problem_source: Source = Source()
    read_at: datetime


@dataclass(frozen=True)
class WorkflowFiles:
    """Every method raises `database.StoreUnavailable` when the database cannot serve it."""

    database: database.Database

    async def get(self, repo: refs.Repository) -> Kept | None:
        """None: no version of the file was ever read."""
        async with self.database.reading() as connection:
            rows = await connection.execute(sa.select(_table).where(_table.c.key == str(repo).lower()))
            row = rows.mappings().one_or_none()
        if row is None:
            return None
        return Kept(
            repo=repo,
            source=Source.model_validate_json(row["source"]),
            text=row["text"],
            problem=row["problem"],
            problem_source=Source.model_validate_json(row["problem_source"]),
            read_at=row["read_at"],
        )

    async def keep(self, repo: refs.Repository, source: Source, content: str, *, read_at: datetime) -> None:
        """A version without mistakes: it replaces the one before it, and its problem. Safe to repeat."""
        await self._put(
            repo,
            source=source.model_dump_json(),
            text=text.storable(content, len(content)),
            problem="",
            problem_source=Source().model_dump_json(),
            read_at=read_at,
        )

    async def refuse(self, repo: refs.Repository, source: Source, problem: str, *, read_at: datetime) -> None:
        """A version with mistakes: the last good one stays. Safe to repeat."""
        await self._put(
            repo,
            problem=text.storable(problem, PROBLEM_LIMIT),
            problem_source=source.model_dump_json(),
            read_at=read_at,
        )

    async def forget(self, repo: refs.Repository) -> None:
        """The repository has no such file any more; nothing there is no error."""
        async with self.database.writing() as connection:
            await connection.execute(sa.delete(_table).where(_table.c.key == str(repo).lower()))

    async def _put(self, repo: refs.Repository, **values: object) -> None:
        empty = Source().model_dump_json()
        async with self.database.writing() as connection:
            await connection.execute(
                database.insert(connection, _table)
                .values(**{"key": str(repo).lower(), "source": empty, "text": None, **values})
                .on_conflict_do_update(index_elements=["key"], set_=values)
            )

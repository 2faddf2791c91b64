"""The cost ledger: one line a turn, whatever became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from domain import agent, ledger, refs
from domain.pool import LOST, EndTurn
from store import database, schema, text

_table = schema.ledger

_KEYS: Final[dict[ledger.By, sa.ColumnElement[Any]]] = {
    ledger.By.REPO: _table.c.repo_key,
    ledger.By.AGENT: _table.c.instance,
    ledger.By.RUN: _table.c.run,
    ledger.By.BACKEND: _table.c.backend,
    ledger.By.KIND: _table.c.type,
}
_WORDS: Final = {
    "run": 300,
    "run_id": 100,
    "session": 200,
    "type": 63,
    "instance": 63,
    "backend": 200,
    "version": 200,
    "model": 200,
    "provider": 200,
    "outcome": 100,
}
"""Columns of text, and their lengths."""


@dataclass(frozen=True)
class Ledger:
    """Every method raises `database.StoreUnavailable` when the database cannot serve it."""

    database: database.Database

    async def record(self, ended: EndTurn, at: datetime) -> ledger.Entry:
        """Write the line of a turn that is over, once for each `ended.turn`; the line that is there is returned. That
        of a turn which was taken for lost gives way to its real end."""
        async with self.database.writing() as connection:
            found = await connection.execute(sa.select(_table).where(_table.c.turn == ended.turn))
            row = found.mappings().one_or_none()
            if row is not None and (row["outcome"] != LOST or ended.outcome == LOST):
                return _entry(row)
            await connection.execute(sa.delete(_table).where(_lost(ended.turn)))
            made = ledger.entry(ended, at, *await _of_session(connection, ended))
            if await _is_covered(connection, ended, was_lost=row is not None):
                made = made.model_copy(update={"usd": 0.0, "covers_usd": 0.0})
            written = await connection.execute(
                database.insert(connection, _table).values(**_row(made)).on_conflict_do_nothing(index_elements=["turn"])
            )
            if written.rowcount:
                return made
            # Two attempts at once on PostgreSQL: what we made may take the other one's line for the turn before.
            found = await connection.execute(sa.select(_table).where(_table.c.turn == ended.turn))
            return _entry(found.mappings().one())

    async def withdraw_lost(self, turn: str) -> None:
        """Remove the line of a turn that was taken for lost and never began; no other line."""
        async with self.database.writing() as connection:
            await connection.execute(sa.delete(_table).where(_lost(turn)))

    async def recent_costs(self, repo: refs.Repository, kind: str, limit: int) -> Sequence[float]:
        """Known costs of the newest turns of this type in this repository; of all repositories while it has too few."""
        async with self.database.reading() as connection:
            for own in (True, False):
                query = (
                    sa.select(_table.c.usd)
                    .where(_table.c.type == kind, _table.c.usd.is_not(None))
                    .order_by(_table.c.id.desc())
                    .limit(limit)
                )
                if own:
                    query = query.where(_table.c.repo_key == str(repo).lower())
                costs = [float(usd) for usd in (await connection.execute(query)).scalars()]
                if len(costs) >= ledger.ENOUGH:
                    break
            return costs

    async def sums(
        self, by: ledger.By, *, since: datetime, repo: refs.Repository | None = None
    ) -> Sequence[ledger.Sum]:
        """Turns since then, added up; the most expensive first, days in their order. A day is UTC's."""
        key = _day(self.database) if by is ledger.By.DAY else _KEYS[by]
        unknown = _table.c.usd.is_(None)
        query = (
            sa.select(
                key.label("key"),
                sa.func.count().label("turns"),
                sa.func.sum(_table.c.usd).label("usd"),
                sa.func.sum(sa.case((unknown, 1), else_=0)).label("unknown_turns"),
                sa.func.sum(sa.case((unknown, _table.c.reserved_usd), else_=-_table.c.covers_usd)).label(
                    "reserved_for_unknown_usd"
                ),
                sa.func.sum(_table.c.input_tokens).label("input_tokens"),
                sa.func.sum(_table.c.cached_tokens).label("cached_tokens"),
                sa.func.sum(_table.c.output_tokens).label("output_tokens"),
            )
            .where(_table.c.at >= since)
            .group_by(key)
        )
        if repo is not None:
            query = query.where(_table.c.repo_key == str(repo).lower())
        async with self.database.reading() as connection:
            rows = (await connection.execute(query)).mappings()
            found = [ledger.Sum.model_validate(dict(row)) for row in rows]
        if by is ledger.By.DAY:
            return sorted(found, key=lambda s: s.key)
        return sorted(found, key=lambda s: (-(s.usd or 0.0), -s.reserved_for_unknown_usd, s.key))

    async def of_run(self, run: str) -> Sequence[ledger.Entry]:
        """The lines of one run's workflow id, oldest first."""
        async with self.database.reading() as connection:
            rows = await connection.execute(sa.select(_table).where(_table.c.run == run).order_by(_table.c.id))
            return [_entry(row) for row in rows.mappings()]


def _lost(turn: str) -> sa.ColumnElement[bool]:
    return sa.and_(_table.c.turn == turn, _table.c.outcome == LOST)


async def _of_session(connection: sa_asyncio.AsyncConnection, ended: EndTurn) -> tuple[float | None, float]:
    """The newest known total of a turn's session before it, and what was reserved for the session's turns since then.
    A turn that was taken for lost may end after later ones of its run."""
    if not ended.session_id:
        return None, 0.0
    later = sa.and_(_table.c.run_id == ended.run_id, _table.c.round > ended.round)
    own = sa.and_(_table.c.session == ended.session_id, sa.not_(later))
    newest = await connection.execute(
        sa.select(_table.c.id, _table.c.raw_usd)
        .where(own, _table.c.raw_usd.is_not(None))
        .order_by(_table.c.id.desc())
        .limit(1)
    )
    found = newest.one_or_none()
    since = await connection.execute(
        sa.select(sa.func.sum(_table.c.reserved_usd)).where(
            own, _table.c.usd.is_(None), _table.c.id > (found.id if found else 0)
        )
    )
    return (found.raw_usd if found else None), since.scalar_one() or 0.0


async def _is_covered(connection: sa_asyncio.AsyncConnection, ended: EndTurn, *, was_lost: bool) -> bool:
    """Whether what a turn cost is in the line of a later one of its session, which was written first: then that line's
    difference to the total before holds it. The later line stops standing in for the reservation of a lost one."""
    if not ended.session_id or ended.session_cost_usd is None:
        return False
    later = await connection.execute(
        sa.select(_table.c.id, _table.c.covers_usd)
        .where(_table.c.session == ended.session_id, _table.c.run_id == ended.run_id, _table.c.round > ended.round)
        .where(_table.c.raw_usd >= ended.session_cost_usd)
        .order_by(_table.c.round)
        .limit(1)
    )
    found = later.one_or_none()
    if found is not None and was_lost:
        covers = max(0.0, found.covers_usd - ended.reserved_usd)
        await connection.execute(sa.update(_table).where(_table.c.id == found.id).values(covers_usd=covers))
    return found is not None


def _day(opened: database.Database) -> sa.ColumnElement[Any]:
    if opened.engine.dialect.name == database.POSTGRESQL:
        return sa.func.to_char(sa.func.timezone("UTC", _table.c.at), "YYYY-MM-DD")
    return sa.func.strftime("%Y-%m-%d", _table.c.at)


def _row(made: ledger.Entry) -> dict[str, Any]:
    words = {name: text.storable(getattr(made, name), length) for name, length in _WORDS.items()}
    return {
        **words,
        "turn": made.turn,
        "at": made.at,
        "owner": made.repo.owner,
        "name": made.repo.name,
        "repo_key": str(made.repo).lower(),
        "issue": made.issue,
        "round": made.round,
        "raw_usd": made.raw_usd,
        "usd": made.usd,
        "reserved_usd": made.reserved_usd,
        "covers_usd": made.covers_usd,
        **made.usage.model_dump(),
    }


def _entry(row: sa.RowMapping) -> ledger.Entry:
    repo = refs.Repository(owner=row["owner"], name=row["name"])
    return ledger.Entry.model_validate({**row, "repo": repo, "usage": agent.Usage.model_validate(dict(row))})

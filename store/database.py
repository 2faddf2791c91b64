"""One database, SQLite or PostgreSQL: how it is reached, how a transaction starts, and what its failures are called."""

import pathlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext import asyncio as sa_asyncio

from domain import errors

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

_DRIVERS: Final = {SQLITE: "sqlite+aiosqlite", POSTGRESQL: "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_ACCEPTED: Final = "sqlite:////absolute/path.db or postgresql://user@host/database"

_WAIT_SECONDS: Final = 5.0
"""For a connection, a pool slot or SQLite's write lock. A forge gives a webhook 10 s, so half of that is ours."""
_STATEMENT_SECONDS: Final = 30.0

_WRITES: Final = "fettle_writes"


class StoreUnavailable(errors.FettleError):
    """The database cannot be reached, is locked, is full or is read-only. What was asked may be asked again: every
    write of the store is safe to repeat."""

    kind = errors.Kind.RETRY


@dataclass(frozen=True)
class Database:
    """A pool of connections to one database."""

    engine: sa_asyncio.AsyncEngine

    @property
    def place(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[sa_asyncio.AsyncConnection]:
        """A transaction that only reads: on SQLite it does not wait for a writer.

        Raises:
            StoreUnavailable: see there.
        """
        try:
            async with self.engine.connect() as connection:
                yield connection
        except (exc.DBAPIError, exc.TimeoutError, OSError) as failure:
            raise self._translated(failure) from failure

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[sa_asyncio.AsyncConnection]:
        """A transaction that may write; committed at the end, rolled back on any exception.

        Raises:
            StoreUnavailable: see there.
        """
        try:
            async with self.engine.execution_options(**{_WRITES: True}).begin() as connection:
                yield connection
        except (exc.DBAPIError, exc.TimeoutError, OSError) as failure:
            raise self._translated(failure) from failure

    async def aclose(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()

    def _translated(self, failure: Exception) -> Exception:
        if isinstance(failure, exc.IntegrityError | exc.ProgrammingError | exc.DataError):
            return failure  # ours: a bug, not the database's state
        cause = failure.orig if isinstance(failure, exc.DBAPIError) else failure
        return StoreUnavailable(
            f"The store at {self.place} did not answer as needed ({type(cause).__name__}: {cause}): "
            "check that the database runs, has space and may be written, then try again"
        )


def parse(url: str) -> sa.URL:
    """Read a store URL and name the asynchronous driver in it.

    Raises:
        ConfigurationError: the URL is not one, is of another database, or is an in-memory SQLite database.
    """
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        # The text is not repeated: what cannot be parsed may still hold a password.
        raise errors.ConfigurationError(f"store_url is not a URL: give {_ACCEPTED}") from None
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise errors.ConfigurationError(f"store_url names '{parsed.drivername}': give {_ACCEPTED}")
    parsed = parsed.set(drivername=driver)
    if parsed.get_backend_name() == SQLITE:
        if parsed.database in {None, "", ":memory:"} or "mode" in parsed.query:
            raise errors.ConfigurationError(
                f"store_url names an in-memory SQLite database, which a restart would empty: give {_ACCEPTED}"
            )
    elif "sslmode" in parsed.query:  # libpq's name, in most copied URLs; asyncpg takes the same values as `ssl`
        parsed = parsed.update_query_dict({"ssl": parsed.query["sslmode"]}).difference_update_query(["sslmode"])
    return parsed


def connect(url: str, *, statement_seconds: float | None = _STATEMENT_SECONDS) -> Database:
    """Make the pool; nothing is opened before the first transaction.

    Args:
        url: As `parse` accepts it.
        statement_seconds: A PostgreSQL statement that takes longer is given up; None: never.

    Raises:
        ConfigurationError: as `parse`, or the driver of this database is not installed.
    """
    parsed = parse(url)
    options: dict[str, Any] = {"hide_parameters": True}  # a payload must not stand in an error message
    if parsed.get_backend_name() == SQLITE:
        folder = pathlib.Path(str(parsed.database)).absolute().parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options["connect_args"] = {"timeout": _WAIT_SECONDS}  # becomes SQLite's busy_timeout
    else:
        options |= {
            "pool_pre_ping": True,
            "pool_timeout": _WAIT_SECONDS,
            "connect_args": {
                "timeout": _WAIT_SECONDS,
                "command_timeout": statement_seconds,
                "server_settings": {"application_name": "fettle"},
            },
        }
    try:
        engine = sa_asyncio.create_async_engine(parsed, **options)
    except ModuleNotFoundError as missing:
        raise errors.ConfigurationError(
            f"store_url names PostgreSQL, but its driver {missing.name} is not installed: "
            "install fettle-orchestrator[postgres], or give an sqlite:// URL"
        ) from missing
    if parsed.get_backend_name() == SQLITE:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return Database(engine)


def insert(connection: sa_asyncio.AsyncConnection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT in the dialect of `connection`."""
    return postgresql.insert(table) if connection.dialect.name == POSTGRESQL else sqlite.insert(table)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, see _begin_sqlite; DDL takes part in transactions then
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    """A transaction that will write takes the write lock at its start.

    A deferred one takes it at its first write; when another process has written since it began to read, SQLite
    refuses that at once, without waiting for busy_timeout.
    """
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

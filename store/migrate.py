"""Bring a database to the schema of this build, once, however many processes start at the same moment.

Rule for every migration: it only adds. A pinned run keeps its old build alive beside the new one, so an older build
must go on working with a newer schema; `upgrade` lets it.
"""

import asyncio
import fcntl
import pathlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import sqlalchemy as sa
import structlog
from alembic import command, config, script
from alembic.runtime import migration

from domain import errors
from store import database

_LOCK_SECONDS: Final = 60.0
"""How long to wait for another process that is migrating."""
_ADVISORY_LOCK: Final = 0x6665_7474_6C65  # "fettle": any constant does, as long as every build has the same

# alembic keeps the migration that runs in module globals, so one at a time in this process.
_one_at_a_time = threading.Lock()

_log = structlog.stdlib.get_logger(__name__)


async def upgrade(url: str) -> None:
    """Apply every migration that the database does not have yet. Safe to run twice, and in two processes at once.

    Raises:
        ConfigurationError: the URL is wrong, or the database holds a revision that is not of this project.
        StoreUnavailable: the database cannot be reached, or another process held the lock for a minute.
    """
    # A thread with its own loop: waiting for the file lock and running migrations must not stop the caller's loop.
    await asyncio.to_thread(_upgrade, url)


def _upgrade(url: str) -> None:
    with _one_at_a_time, _sqlite_file_lock(database.parse(url)):
        asyncio.run(_upgrade_locked(database.connect(url, statement_seconds=None)))


async def _upgrade_locked(target: database.Database) -> None:
    try:
        async with target.writing() as connection:
            if connection.dialect.name == database.POSTGRESQL:
                await connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS:.0f}s'"))
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            await connection.run_sync(_run)
    finally:
        await target.aclose()


def _run(connection: sa.Connection) -> None:
    settings = config.Config()
    settings.set_main_option("script_location", "store:migrations")
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    known = script.ScriptDirectory.from_config(settings)
    newest = known.get_current_head() or ""
    found = migration.MigrationContext.configure(connection).get_current_revision()
    if found is None or found in {revision.revision for revision in known.walk_revisions()}:
        command.upgrade(settings, "head")
    elif found.isdigit() and found > newest:  # revisions are "0001", "0002", …
        _log.warning("store.schema_is_newer", found=found, newest_of_this_build=newest)
    else:
        raise errors.ConfigurationError(
            f"The store's schema is at revision '{found}', this build knows 0001 to {newest}: "
            "point store_url at a database that belongs to Fettle alone"
        )


@contextmanager
def _sqlite_file_lock(url: sa.URL) -> Iterator[None]:
    """Hold the lock, with the file in WAL mode. SQLite's own lock does not cover that change of mode: two processes
    that open a new file would collide there."""
    if url.get_backend_name() != database.SQLITE:
        yield
        return
    file = pathlib.Path(str(url.database)).absolute()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.migrate.lock").open("w") as lock:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise database.StoreUnavailable(
                        f"{file} is being migrated by another process for more than {_LOCK_SECONDS:.0f} s: "
                        f"end that process (it holds {lock.name}), then try again"
                    ) from None
                time.sleep(0.05)
        _use_wal(file)
        yield  # closing the file releases the lock


def _use_wal(file: pathlib.Path) -> None:
    """Readers and the one writer do not stop each other then. The mode stays in the file, so it is set here only."""
    try:
        with closing(sqlite3.connect(file, timeout=_LOCK_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as failure:
        raise database.StoreUnavailable(
            f"{file} cannot be opened as the store ({failure}): check that it is an SQLite database, that its folder "
            "may be written and has space, then try again"
        ) from failure

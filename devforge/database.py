"""One SQLite connection, owned by the event loop.

Statements here take microseconds, so a hop to a thread would cost more than the work. It also makes transactions
simple: nothing awaits between BEGIN and COMMIT, therefore two requests can never interleave inside one.
Write-ahead logging keeps every committed transaction through a SIGKILL.
"""

import contextlib
import importlib.resources
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devforge import errors

Row = sqlite3.Row
VERSION = 1


class Database:
    """Thin SQL access; table and column names come from code, never from a request."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._depth = 0
        self._refuse_other_versions(path)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "cache_size=-16000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(importlib.resources.files("devforge").joinpath("schema.sql").read_text("utf-8"))

    def _refuse_other_versions(self, path: Path) -> None:
        found = int(self.scalar("PRAGMA user_version"))
        if found != VERSION and self.one("SELECT 1 FROM sqlite_master"):
            raise errors.StartupFailed(
                f"{path} was written by version {found} of the forge's schema, this is version {VERSION}: "
                "start with an empty --state directory."
            )
        self.run(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Fold the log into the database file and close."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside commit together; nested blocks join the outer one. Never await inside."""
        if self._depth:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        else:
            self._connection.execute("COMMIT")
        finally:
            self._depth = 0

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row, or None."""
        found: Row | None = self._connection.execute(sql, values).fetchone()
        return found

    def get(self, sql: str, *values: Any) -> Row:
        """The first row of a query that must have one.

        Raises:
            LookupError: there is none; a broken reference inside the forge.
        """
        if (row := self.one(sql, *values)) is None:
            raise LookupError(f"no row for {sql}")
        return row

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Every row."""
        return self._connection.execute(sql, values).fetchall()

    def scalar(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.one(sql, *values)
        return None if row is None else row[0]

    def run(self, sql: str, *values: Any) -> int:
        """Execute a statement; the number of rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def insert(self, table: str, **values: Any) -> int:
        """Insert one row; its id."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        cursor = self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))
        return int(cursor.lastrowid or 0)

    def update(self, table: str, row_id: int, key: str = "id", /, **values: Any) -> None:
        """Change the named columns of one row."""
        names = ", ".join(f"{name} = ?" for name in values)
        self._connection.execute(f"UPDATE {table} SET {names} WHERE {key} = ?", (*values.values(), row_id))


def dump(value: Any) -> str:
    """Compact JSON for a column."""
    return json.dumps(value, separators=(",", ":"))


def load(text: str | None) -> Any:
    """The value of a JSON column; None stays None."""
    return None if text is None else json.loads(text)

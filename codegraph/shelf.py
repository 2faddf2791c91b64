"""The file of a store: opened by many, and replaced by one when it is broken.

Whoever reads it holds a shared lock on a file beside it. Only who gets that lock alone may put a broken file aside, so
that nobody's open file is ever replaced under it; who does not get it works in memory.
"""

import contextlib
import fcntl
import os
import pathlib
import sqlite3
import time
from typing import IO, Final

LAYOUT: Final = 1
"""Version of the tables. A file of another layout is put aside."""

_NAME: Final = "codegraph.sqlite"
_BUSY_SECONDS: Final = 30.0
_TRIES: Final = 20
_WAIT_SECONDS: Final = 0.05
_MENDS: Final = 3
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS facts (id INTEGER PRIMARY KEY, blob TEXT NOT NULL, language TEXT NOT NULL,"
    " version TEXT NOT NULL, skipped TEXT NOT NULL, parsed INTEGER NOT NULL, payload BLOB NOT NULL,"
    " checksum INTEGER NOT NULL, seal INTEGER NOT NULL, UNIQUE (blob, language))",
    "CREATE TABLE IF NOT EXISTS commits (id INTEGER PRIMARY KEY, sha TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,"
    " payload BLOB NOT NULL, seal INTEGER NOT NULL)",
)


class Shelf:
    """One open file of a store, or a table in memory where there can be none.

    Attributes:
        db: The connection. `mend` replaces it.
        volatile: True when nothing is written to a file.
    """

    def __init__(self, folder: pathlib.Path | None) -> None:
        self._folder = folder
        self._held: IO[bytes] | None = None
        self._mended = 0
        self.volatile = False
        self.db = self._open()

    def close(self) -> None:
        """Close the file and let others replace it."""
        with contextlib.suppress(sqlite3.Error):
            self.db.close()
        self._release()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was never opened
            self.close()

    def used(self) -> int:
        """Bytes of the file that hold rows."""
        pages, free, size = (
            int(self.db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def mend(self) -> None:
        """Go on after SQLite refused the file: with a new one; in memory if others hold it or it fails too often."""
        self.close()
        self._mended += 1
        if self._mended > _MENDS:
            self._folder = None
        self.db = self._open(suspect=True)

    def _open(self, *, suspect: bool = False) -> sqlite3.Connection:
        if self._folder is not None:
            with contextlib.suppress(OSError, sqlite3.Error):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._hold(fcntl.LOCK_SH)
                with contextlib.suppress(sqlite3.DatabaseError):
                    if not suspect:
                        return _connect(self._folder / _NAME)
                return self._replace()
        self._release()
        self.volatile = True
        return _connect(":memory:")

    def _replace(self) -> sqlite3.Connection:
        """Open the file alone: as it is if it is whole (somebody else replaced it), else a new one.

        Raises:
            OSError: Others hold it.
            sqlite3.Error: Not even a new file can be made here.
        """
        assert self._folder is not None
        self._release()
        for left in reversed(range(_TRIES)):
            try:
                self._hold(fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(_WAIT_SECONDS)
        try:
            db = _connect(self._folder / _NAME)
            with contextlib.ExitStack() as unless_whole:
                unless_whole.callback(db.close)
                if _whole(db):
                    unless_whole.pop_all()
                    self._hold(fcntl.LOCK_SH)
                    return db
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # busy, full, not allowed: the file may well be whole
                raise
        except sqlite3.DatabaseError:
            pass  # no database, cut, or of another layout
        for ending in ("-wal", "-shm"):
            (self._folder / f"{_NAME}{ending}").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / _NAME).replace(self._folder / "codegraph.broken")
        db = _connect(self._folder / _NAME)
        self._hold(fcntl.LOCK_SH)
        return db

    def _hold(self, how: int) -> None:
        if self._held is None:
            assert self._folder is not None
            ways = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC  # for both, since a pipe in its place would wait for a reader
            self._held = os.fdopen(os.open(self._folder / "lock", ways, 0o666), "rb", buffering=0)
        fcntl.flock(self._held, how)

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def _whole(db: sqlite3.Connection) -> bool:
    found = db.execute("PRAGMA quick_check(1)").fetchone()
    return bool(found) and found[0] == "ok"


def _connect(place: pathlib.Path | str) -> sqlite3.Connection:
    """An open file with its tables.

    Raises:
        sqlite3.OperationalError: It cannot be used now; with code `SQLITE_ERROR`, it lacks a table.
        sqlite3.DatabaseError: It is no whole database of this layout.
    """
    db = sqlite3.connect(place, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, in_file=place != ":memory:")
    except sqlite3.Error:
        db.close()
        raise
    except ValueError as error:  # a damaged table has a name that is no text, and the message quotes it
        db.close()
        raise sqlite3.DatabaseError("damaged tables") from error
    return db


def _prepare(db: sqlite3.Connection, *, in_file: bool) -> None:
    if in_file:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")  # after a power cut it is rebuilt, so nobody need ever wait for the disk
    (layout,) = db.execute("PRAGMA user_version").fetchone()
    if layout not in (0, LAYOUT):
        raise sqlite3.DatabaseError(f"tables of layout {layout}, not {LAYOUT}")
    if layout == 0:
        db.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {LAYOUT}")
        db.execute("COMMIT")
    for table in ("facts", "commits"):
        db.execute(f"SELECT * FROM {table} LIMIT 0")

"""What is remembered between runs: facts of blobs and of commits, in one SQLite file beside the objects they speak of.

Everything in it can be computed again, so it may be lost, cut or of another version at any time: a row that is not
exactly what was written is not there, and a file that SQLite refuses is put aside. It holds no path of this machine.
"""

import contextlib
import functools
import importlib.metadata
import os
import pathlib
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from codegraph import facts, languages, shelf, skips

LIMIT: Final = 1 << 30
"""Bytes of the file above which the older half of its facts is dropped."""

_CHUNK: Final = 400
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)  # others write; nothing is wrong
_ERRORS: Final = (sqlite3.Error, ValueError, OverflowError)  # a damaged page may hold any value


class Key(NamedTuple):
    """What facts are kept under: the same bytes read as two languages are two things.

    Attributes:
        blob: Object id.
        language: Name of a language.
    """

    blob: str
    language: str


class Row(NamedTuple):
    """What is kept of one blob.

    Attributes:
        skipped: Why its contents keep it out of the index; empty when they do not.
        parsed: Whether a grammar could read it.
        payload: Its facts, encoded; empty when skipped.
    """

    skipped: str
    parsed: bool
    payload: bytes


class Store:
    """The remembered facts of one repository. Safe to share between threads, and between processes by its file."""

    def __init__(self, folder: str | os.PathLike[str] | None, *, limit: int = LIMIT) -> None:
        """Opens or makes the file.

        Args:
            folder: Where it lives; made when missing. None keeps everything in memory.
            limit: Bytes of the file above which older facts are dropped.
        """
        self._limit = limit
        self._lock = threading.RLock()
        self._shelf = shelf.Shelf(None if folder is None else pathlib.Path(folder))

    @classmethod
    def of(cls, common_dir: pathlib.Path) -> Self:
        """The store in its usual place, inside the git directory that all worktrees share."""
        return cls(common_dir / "fettle")

    @property
    def volatile(self) -> bool:
        """True when nothing is kept beyond this object: asked for so, or the place cannot be used now."""
        return self._shelf.volatile

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def facts(self, keys: Iterable[Key]) -> dict[Key, facts.Facts]:
        """The facts that are known of `keys`; those of skipped or unknown blobs are left out."""
        found = {}
        bad = []
        for key, row, checksum in self._rows(keys, "payload"):
            try:
                if not isinstance(row.payload, bytes) or checksum != zlib.crc32(row.payload):
                    raise ValueError("not the bytes that were written")
                if not row.skipped:
                    found[key] = facts.decode(row.payload)
            except ValueError:
                bad.append(key)
        if bad:
            self._write(lambda db: db.executemany("DELETE FROM facts WHERE blob = ? AND language = ?", bad))
        return found

    def known(self, keys: Iterable[Key]) -> dict[Key, Row]:
        """What is kept of each of `keys`, without the facts themselves."""
        return {key: row for key, row, _ in self._rows(keys, "x''")}

    @property
    def empty(self) -> bool:
        """Whether no facts of blobs are kept yet."""
        with self._lock:
            try:
                return self._shelf.db.execute("SELECT 1 FROM facts LIMIT 1").fetchone() is None
            except _ERRORS as error:
                self._mend(error)
                return True

    def add(self, rows: Mapping[Key, Row]) -> None:
        """Keep what was found. What cannot be written is given up: it is computed again next time."""
        values = []
        for key, row in rows.items():
            version, checksum = _version(key.language), zlib.crc32(row.payload)
            seal = _seal(*key, version, row.skipped, int(row.parsed), checksum)
            values.append((*key, version, row.skipped, int(row.parsed), row.payload, checksum, seal))
        if values:
            marks = ",".join("?" * len(values[0]))
            self._write(lambda db: db.executemany(f"INSERT OR REPLACE INTO facts ({_FIELDS}) VALUES ({marks})", values))
            self._shrink()

    def commits(self, shas: Iterable[str], version: int) -> dict[str, bytes]:
        """What is kept of each commit under a version."""
        found = {}
        sql = "SELECT sha, payload, seal FROM commits WHERE version = ? AND sha IN ({})"
        for sha, payload, seal in self._select(sql, [version], list(shas)):
            if isinstance(payload, bytes) and seal == _seal(sha, version, zlib.crc32(payload)):
                found[sha] = payload
        return found

    def add_commits(self, rows: Mapping[str, bytes], version: int) -> None:
        """Keep what commits did."""
        values = [(sha, version, payload, _seal(sha, version, zlib.crc32(payload))) for sha, payload in rows.items()]
        if values:
            self._write(
                lambda db: db.executemany(
                    "INSERT OR REPLACE INTO commits (sha, version, payload, seal) VALUES (?,?,?,?)", values
                )
            )

    def _rows(self, keys: Iterable[Key], payload: str) -> Iterator[tuple[Key, Row, int]]:
        wanted = set(keys)
        blobs = sorted({key.blob for key in wanted})
        sql = f"SELECT {_FIELDS.replace('payload', payload)} FROM facts WHERE blob IN ({{}})"
        for blob, language, version, skipped, parsed, data, checksum, seal in self._select(sql, [], blobs):
            key = Key(blob, language)
            if key not in wanted or version != _version(language):
                continue
            if seal == _seal(blob, language, version, skipped, parsed, checksum):
                yield key, Row(skipped, bool(parsed), data), checksum

    def _select(self, sql: str, first: list[Any], values: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            asked = sql.format(",".join("?" * len(chunk)))
            with self._lock:
                try:
                    found = self._shelf.db.execute(asked, [*first, *chunk]).fetchall()
                except _ERRORS as error:
                    self._mend(error)
                    found = []
            yield from found

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        with self._lock:
            for _ in range(2):
                try:
                    with self._shelf.db as db:
                        db.execute("BEGIN IMMEDIATE")
                        work(db)
                    return
                except _ERRORS as error:
                    self._mend(error)

    def _mend(self, error: Exception) -> None:
        code = getattr(error, "sqlite_errorcode", None) or 0
        if not (isinstance(error, sqlite3.OperationalError) and code & 0xFF in _BUSY):
            self._shelf.mend()

    def _shrink(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._shelf.used() > self._limit:
                middle = "SELECT id FROM facts ORDER BY id LIMIT 1 OFFSET (SELECT count(*) / 2 FROM facts)"
                self._write(lambda db: db.execute(f"DELETE FROM facts WHERE id < ({middle})"))


_FIELDS: Final = "blob, language, version, skipped, parsed, payload, checksum, seal"


def _seal(*parts: str | int) -> int:
    return zlib.crc32("\0".join(map(str, parts)).encode("utf-8", "surrogateescape"))


def _version(language: str) -> str:
    """What the facts of a language depend on beside the bytes."""
    return f"{facts.EXTRACTOR}.{skips.RULES} {_grammar(language)}"


@functools.cache
def _grammar(language: str) -> str:
    """Releases of a grammar and of the parser, which may not take it."""
    known = languages.LANGUAGES.get(language)
    try:
        if known is None:
            return "none"
        return " ".join(importlib.metadata.version(name.replace("_", "-")) for name in (known.module, "tree_sitter"))
    except importlib.metadata.PackageNotFoundError:
        return "none"

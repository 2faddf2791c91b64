"""Where large things are kept: transcripts, logs, diffs.

A directory for now; the Protocol leaves room for object storage.
"""

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from domain import artifacts

_SEGMENT: Final = re.compile(r"[A-Za-z0-9._@+=-]{1,200}")
_CHUNK: Final = 1024 * 1024


def run_key(run: str, name: str) -> str:
    """The key of what a run leaves: `runs/<run>/<name>`, whatever characters the run's workflow id holds."""
    segments = [re.sub(r"[^A-Za-z0-9._@+=-]", "_", segment)[:200] or "_" for segment in f"{run}/{name}".split("/")]
    return "/".join(["runs", *("_" if set(segment) == {"."} else segment for segment in segments)])


def turn_key(run: str, turn: int) -> str:
    """The key of what a run's agent wrote in one turn, in the format of its CLI."""
    return run_key(run, f"turn-{turn}.jsonl")


def writer_key(run: str, turn: int) -> str:
    """The key of the name of the backend that wrote a turn: only its parser can read it."""
    return run_key(run, f"turn-{turn}.agent")


class ArtifactStream(Protocol):
    """A log that is written while somebody reads it. The writer appends, across attempts too."""

    @property
    def offset(self) -> int:
        """Bytes in the log so far."""
        ...

    def write(self, data: bytes) -> None:
        """Append; visible to readers when it returns."""
        ...

    async def close(self, summary: str = "") -> artifacts.ArtifactRef:
        """End the log (writing is refused afterwards) and give its reference. Closing twice gives the same."""
        ...


class ArtifactStore(Protocol):
    """Keys are relative paths of plain segments, chosen by the caller and stable across retries."""

    async def put(self, key: str, data: bytes, summary: str = "") -> artifacts.ArtifactRef:
        """Store the whole; a second put of the key replaces the first in one step."""
        ...

    async def read(self, key: str, *, offset: int = 0, most: int | None = None) -> bytes:
        """The bytes from `offset`, at most `most`; empty past the end, and for a log that has not begun.

        Raises:
            FileNotFoundError: nothing was ever stored under the key, and `offset` is 0.
        """
        ...

    def append_to(self, key: str) -> ArtifactStream:
        """Open a log at its end, or begin it."""
        ...

    async def delete(self, key: str) -> None:
        """Remove what is stored under the key; nothing happens when there is nothing."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Every key below `prefix`, sorted."""
        ...


@dataclass(frozen=True)
class DirectoryStore:
    """Artifacts as files below `root`, readable by the worker's user alone."""

    root: Path

    async def put(self, key: str, data: bytes, summary: str = "") -> artifacts.ArtifactRef:
        await asyncio.to_thread(_replace, self._path(key, make=True), data)
        return artifacts.ArtifactRef(key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data), summary=summary)

    async def read(self, key: str, *, offset: int = 0, most: int | None = None) -> bytes:
        return await asyncio.to_thread(_read, self._path(key), offset, most)

    def append_to(self, key: str) -> "DirectoryStream":
        return DirectoryStream(key, self._path(key, make=True))

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    def keys(self, prefix: str) -> list[str]:
        base = self._path(prefix)
        return sorted(str(path.relative_to(self.root)) for path in base.rglob("*") if path.is_file())

    def _path(self, key: str, *, make: bool = False) -> Path:
        """The file of a key.

        Raises:
            ValueError: the key is not a relative path of plain segments, or a link leads it out of the store.
        """
        segments = key.split("/")
        if any(not _SEGMENT.fullmatch(segment) or set(segment) == {"."} for segment in segments):
            raise ValueError(f"'{key}' is no artifact key: expected segments of letters, digits and ._@+=- joined by /")
        path = self.root.joinpath(*segments)
        if make:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(
                f"'{key}' leads out of the artifact store {self.root}: remove the link that stands in its way"
            )
        return path


class DirectoryStream:
    """An append-only file. Each write goes to the file at once, so a reader and a kill -9 find all of it."""

    def __init__(self, key: str, path: Path) -> None:
        self._key = key
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._offset = os.fstat(self._file).st_size

    @property
    def offset(self) -> int:
        return self._offset

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)
            self._offset += written
            view = view[written:]

    async def close(self, summary: str = "") -> artifacts.ArtifactRef:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        digest, size = await asyncio.to_thread(_digest, self._path)
        return artifacts.ArtifactRef(key=self._key, sha256=digest, size=size, summary=summary)


def _replace(path: Path, data: bytes) -> None:
    """All or nothing, also over a power cut: the new file is on disk before it takes the name."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _read(path: Path, offset: int, most: int | None) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read() if most is None else file.read(most)
    except FileNotFoundError:
        if offset:
            return b""
        raise


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk

"""A conversation as one artifact: what the CLI keeps of it, packed after a turn and unpacked on another host.

The agent writes in the home that is packed, and reads in the one that is unpacked: no link is followed in either
direction, names stay below the home, and sizes are bounded. Otherwise a link to one of the host's own files would be
carried to where the agent can read it.
"""

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from domain import errors

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not hold us
_FAST: Final = 3
"""Of gzip's levels: transcripts shrink to a tenth with any of them."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one archive, unpacked."""

    files: int = 2000
    bytes: int = 512 * 1024**2


DEFAULT: Final = Limits()


def signature(home: Path, files: Sequence[Path]) -> str:
    """Differs when a file has changed, by name, size and time; empty without files."""
    facts = []
    for file in files:
        with suppress(OSError):
            found = file.lstat()
            facts.append(f"{file.relative_to(home)}:{found.st_size}:{found.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest() if facts else ""


def pack(home: Path, files: Sequence[Path], limits: Limits = DEFAULT) -> bytes:
    """The plain files among `files`, which are below `home`, as a compressed archive; blocking. Files that are gone, or
    that are reached through a link, are left out.

    Raises:
        UnsafeWork: more than `limits`.
    """
    target = io.BytesIO()
    left = limits.bytes
    with (
        gzip.GzipFile(fileobj=target, mode="wb", compresslevel=_FAST, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for index, name in enumerate(sorted({_relative(home, file) for file in files})):
            data = _read(home, name, left)
            if data is None:
                continue
            left -= len(data)
            if left < 0 or index >= limits.files:
                raise _too_large(limits)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def unpack(data: bytes, home: Path, *, cwd: Path, packed_cwd: str = "", limits: Limits = DEFAULT) -> int:
    """Lay an archive's files out below `home`, over those that are there; blocking. Returns how many.

    A folder that carries the name of the directory in which the CLI was started (each character but letters and digits
    as `-`) is named after `cwd`: some versions look for a conversation there only.

    Raises:
        UnsafeWork: an entry that is no plain file, a name that leaves `home`, or more than `limits`.
    """
    old, new = (re.sub(r"[^A-Za-z0-9]", "-", each) for each in (packed_cwd, str(cwd)))
    count, left = 0, limits.bytes
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for entry in archive:
                count += 1
                left -= entry.size
                if left < 0 or count > limits.files:
                    raise _too_large(limits)
                content = archive.extractfile(entry) if entry.isreg() else None
                if content is None:
                    raise _unsafe(f"'{entry.name}' is no plain file")
                parts = [new if old and part == old else part for part in _parts(entry.name)]
                _write(home, parts, content.read())
    except (tarfile.TarError, EOFError, OSError, ValueError) as damage:
        raise _unsafe(f"it cannot be read ({damage})") from damage
    return count


def _relative(home: Path, file: Path) -> str:
    return "/".join(_parts(file.relative_to(home).as_posix()))


def _parts(name: str) -> list[str]:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name:
        raise _unsafe(f"'{name}' is no name below a home")
    return list(path.parts)


def _read(home: Path, name: str, most: int) -> bytes | None:
    *folders, last = name.split("/")
    try:
        with (
            _folder(home, folders, make=False) as folder,
            os.fdopen(os.open(last, _FILE, dir_fd=folder), "rb") as file,
        ):
            return file.read(max(0, most) + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError:
        return None


def _write(home: Path, parts: Sequence[str], data: bytes) -> None:
    *folders, last = parts
    with _folder(home, folders, make=True) as folder:
        with suppress(FileNotFoundError):
            os.unlink(last, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(last, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)


@contextmanager
def _folder(home: Path, folders: Sequence[str], *, make: bool) -> Iterator[int]:
    """The directory below `home`, opened step by step. Raises OSError where something else stands in the way."""
    opened = [os.open(home, _DIRECTORY)]
    try:
        for name in folders:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=opened[-1])
            opened.append(os.open(name, _DIRECTORY, dir_fd=opened[-1]))
        yield opened[-1]
    finally:
        for each in opened:
            os.close(each)


def _too_large(limits: Limits) -> errors.UnsafeWork:
    return _unsafe(f"it has more than {limits.files} files or {limits.bytes} bytes")


def _unsafe(facts: str) -> errors.UnsafeWork:
    return errors.UnsafeWork(f"the conversation's archive was not taken: {facts}: the session is started afresh")

"""Files in a run's home, a directory that an untrusted agent writes to as well (never while the worker does)."""

import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def folder(path: Path) -> None:
    """Make a directory of mode 700. A link at `path` is removed, never followed: it could lead what is written next
    out of the home.

    Raises:
        OSError: it cannot be made.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


def remove(path: Path) -> None:
    """Remove what is at `path`, a directory with all that is in it; a link is removed, never followed.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def within(home: Path, paths: Iterable[Path]) -> list[Path]:
    """Those of the paths that are plain files of the home, sorted: a link could make the worker hand out a file that is
    not the agent's to read."""
    real = home.resolve()
    return sorted(
        path
        for path in paths
        if path.is_file() and not path.is_symlink() and path.parent.resolve().is_relative_to(real)
    )


def copy_secret_if_newer(source: Path, target: Path) -> None:
    """Copy with mode 600 unless `target` is a file that is as new. A link at `target` is replaced, never followed: the
    agent could have put it there to have the secret, or an older file, written elsewhere.

    Raises:
        OSError: `source` cannot be read, or `target` not written.
    """
    newest = source.stat()
    with suppress(FileNotFoundError):
        present = target.lstat()
        if stat.S_ISREG(present.st_mode) and present.st_mtime_ns >= newest.st_mtime_ns:
            return
    replace(target, source.read_bytes(), times=(newest.st_atime_ns, newest.st_mtime_ns))


def replace(target: Path, content: bytes, *, times: tuple[int, int] | None = None) -> None:
    """Write a file of mode 600 whole, in the place of whatever is at `target`; nothing there is followed.

    Args:
        times: Its access and modification time in ns; None: now.

    Raises:
        OSError: it cannot be written.
    """
    fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if times is not None:
            os.utime(file.fileno(), ns=times)
    fresh.replace(target)

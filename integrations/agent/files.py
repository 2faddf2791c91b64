"""Files in a run's home, a directory that an untrusted agent writes to as well."""

import os
import stat
from contextlib import suppress
from pathlib import Path


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
    fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(source.read_bytes())
        os.utime(file.fileno(), ns=(newest.st_atime_ns, newest.st_mtime_ns))
    fresh.replace(target)

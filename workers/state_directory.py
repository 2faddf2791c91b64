"""The directory that one installation on one machine keeps its state in: who owns it now, its logs, its secrets."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from domain import errors
from workers import connection

LOCK_FILE: Final = "lock"


class AlreadyRunning(errors.FettleError):
    """Another process works on this state directory. `pid` is 0 when it could not be read."""

    exit_code = 3

    def __init__(self, message: str, *, pid: int) -> None:
        super().__init__(message)
        self.pid = pid


def prepare(state: Path) -> Path:
    """Create what is missing, readable by the owner alone, and return the absolute path.

    Raises:
        errors.ConfigurationError: the path cannot be a directory of ours.
    """
    state = state.expanduser().absolute()
    try:
        for folder in (state, state / "logs", state / "secrets"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as refused:
        raise errors.ConfigurationError(
            f"the state directory {state} cannot be made ({refused.strerror}): name another one with --state"
        ) from refused
    return state


@contextlib.contextmanager
def lock(state: Path, command: str) -> Iterator[None]:
    """Hold the directory as long as the context lasts; the kernel lets go of it when this process ends in any way.

    Raises:
        AlreadyRunning: another process holds it.
    """
    descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as held:
            if held.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
            raise _held(state, file.read()) from held
        file.truncate(0)
        file.seek(0)
        json.dump({"pid": os.getpid(), "command": command, "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)
        file.flush()
        yield


def secret(state: Path, name: str, prefix: str = "") -> Path:
    """The file of a secret that is made once, 0600, and kept for the life of the directory."""
    path = state / "secrets" / name
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(prefix + secrets.token_hex(20))
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the file in one step: a reader sees the old content or the new one."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def _held(state: Path, text: str) -> AlreadyRunning:
    try:
        holder = json.loads(text)
    except ValueError:
        holder = {}
    pid = int(holder.get("pid", 0))
    who = f"`{holder['command']}` (process {pid}, since {holder['since']})" if pid else "another process"
    web = (connection.read_up(state) or {}).get("web_url")
    return AlreadyRunning(
        f"{state} is in use by {who}{f', its webhook intake is {web}' if web else ''}: "
        f"use that one, stop it{f' with `kill {pid}`' if pid else ''}, or name another directory with --state",
        pid=pid,
    )

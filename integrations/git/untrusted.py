"""Reads a clone that an agent could write, without starting git in it.

A clone's own configuration, hooks, attributes, alternates, `commondir` or lazily fetched objects can make git run
programs or read other repositories with the worker's rights. So the few facts that are needed are read as files: the
commit at HEAD, and the objects the agent made. Every directory is opened relative to its parent and no symlink is
followed; what is not a plain file in its expected place is refused or left out.
"""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domain import errors
from integrations.git import names

_MOST_REF_BYTES: Final = 4096
_MOST_PACKED_REFS_BYTES: Final = 16 * 1024 * 1024
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not hold us
_FAN_OUT: Final = re.compile(r"^[0-9a-f]{2}$")
_LOOSE: Final = re.compile(r"^[0-9a-f]{38}$")
_PACK: Final = re.compile(r"^pack-[0-9a-f]{40}\.pack$")


@dataclass(frozen=True)
class ObjectLimits:
    """What one import takes over. A clone that an agent repacked holds the whole history, hence the generous bytes."""

    bytes: int = 2 * 1024**3
    loose: int = 100_000
    packs: int = 200


def head_sha(clone: Path) -> str:
    """The commit at HEAD of a clone.

    Raises:
        UnsafeWork: there is no commit, or the repository is not laid out as it was made.
    """
    with _open_git(clone) as git:
        head = _read(git, "HEAD", _MOST_REF_BYTES)
        if names.SHA.match(head):
            return head
        ref = head.removeprefix("ref:").strip()
        branch = ref.removeprefix("refs/heads/")
        if head.startswith("ref:") and ref != branch and names.valid_branch(branch):
            sha = _loose_ref(git, ref) or _packed_ref(git, ref)
            if sha:
                return sha
        raise _refused(
            clone, f"HEAD is {_shown(head)}, which names no commit", "check out the work branch and commit on it"
        )


def copy_objects(clone: Path, objects: Path, limits: ObjectLimits) -> list[Path]:
    """Copy the objects the agent made into `objects`, the object directory of a repository of ours.

    Indexes, commit graphs and alternates are left behind: git rebuilds what it needs, and what it is told about other
    places is not believed.

    Returns:
        The packs that were copied and need an index.

    Raises:
        UnsafeWork: more than `limits`, or the object directory is not a plain directory.
    """
    packs: list[Path] = []
    budget = _Budget(clone, limits)
    with _open_git(clone) as git, _directory(clone, git, "objects") as source:
        for entry in _entries(source):
            if _FAN_OUT.match(entry):
                with _directory(clone, source, entry) as fan:
                    (objects / entry).mkdir(exist_ok=True)
                    for name in filter(_LOOSE.match, _entries(fan)):
                        _copy(clone, fan, name, objects / entry / name, budget)
            elif entry == "pack":
                with _directory(clone, source, entry) as folder:
                    (objects / entry).mkdir(exist_ok=True)
                    for name in filter(_PACK.match, _entries(folder)):
                        packs.append(objects / entry / name)
                        _copy(clone, folder, name, packs[-1], budget)
    return packs


class _Budget:
    def __init__(self, clone: Path, limits: ObjectLimits) -> None:
        self._clone = clone
        self._limits = limits
        self._bytes = 0
        self._loose = 0
        self._packs = 0

    def spend(self, name: str, size: int) -> None:
        self._bytes += size
        if name.endswith(".pack"):
            self._packs += 1
        else:
            self._loose += 1
        for what, spent, most in (
            ("bytes", self._bytes, self._limits.bytes),
            ("loose objects", self._loose, self._limits.loose),
            ("packs", self._packs, self._limits.packs),
        ):
            if spent > most:
                raise _refused(
                    self._clone,
                    f"its objects are more than {most} {what}, the most that is imported",
                    "start the run afresh and keep generated files out of the commits",
                )


@contextmanager
def _open_git(clone: Path) -> Iterator[int]:
    root = _opened(clone, None, str(clone))
    try:
        with _directory(clone, root, ".git") as git:
            yield git
    finally:
        os.close(root)


@contextmanager
def _directory(clone: Path, parent: int, name: str) -> Iterator[int]:
    fd = _opened(clone, parent, name)
    try:
        yield fd
    finally:
        os.close(fd)


def _opened(clone: Path, parent: int | None, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        raise _refused(
            clone,
            f"{name} was made as a directory and is now something else ({error.strerror})",
            "start the run afresh: what is there now is not read",
        ) from error


def _entries(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return sorted(entry.name for entry in entries)


def _copy(clone: Path, parent: int, name: str, target: Path, budget: _Budget) -> None:
    try:
        fd = os.open(name, _FILE, dir_fd=parent)
    except OSError as error:
        raise _refused(
            clone, f"object {name} is no plain file ({error.strerror})", "start the run afresh: links are not followed"
        ) from error
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        os.close(fd)
        raise _refused(clone, f"object {name} is no plain file", "start the run afresh: links are not followed")
    with os.fdopen(fd, "rb") as source:
        budget.spend(name, facts.st_size)
        with target.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1024 * 1024)


def _read(parent: int, name: str, most: int) -> str:
    with suppress(OSError):
        fd = os.open(name, _FILE, dir_fd=parent)
        with os.fdopen(fd, "rb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return file.read(most).decode("utf-8", "replace").strip()
    return ""


def _loose_ref(git: int, ref: str) -> str:
    *folders, name = ref.split("/")
    opened: list[int] = []
    try:
        parent = git
        for folder in folders:
            parent = os.open(folder, _DIRECTORY, dir_fd=parent)
            opened.append(parent)
        text = _read(parent, name, _MOST_REF_BYTES)
    except OSError:
        return ""
    finally:
        for fd in opened:
            os.close(fd)
    return text if names.SHA.match(text) else ""


def _packed_ref(git: int, ref: str) -> str:
    for line in _read(git, "packed-refs", _MOST_PACKED_REFS_BYTES).splitlines():
        sha, _, name = line.partition(" ")
        if name == ref and names.SHA.match(sha):
            return sha
    return ""


def _shown(text: str) -> str:
    return repr(text[:80]) if text else "missing"


def _refused(clone: Path, facts: str, next_step: str) -> errors.UnsafeWork:
    return errors.UnsafeWork(f"the work in {clone.parent.name} was not taken over: {facts}: {next_step}")

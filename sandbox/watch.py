"""Limits that this kernel does not hold for us: memory and processes of a tree, and what its directories grow by.

Standard library only: the launcher uses it. A look is cheap when all is well; what looks like too much is measured
exactly before anything is ended for it.
"""

import os
import stat
import threading
import time
from contextlib import suppress

_MEBIBYTE = 1024 * 1024
_DISK_SECONDS = 1.0
_DISK_SHARE = 20
"""A walk that takes long is made less often, so that it costs 5 % of one CPU at most."""


class Watch:
    """What one tree may use; 0: no limit. `look` is called again and again."""

    def __init__(self, root: int, *, memory_bytes: int, processes: int) -> None:
        self._root = root
        self._memory = memory_bytes
        self._processes = processes

    @property
    def needed(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._memory or self._processes)

    def look(self) -> str:
        """Why the tree must be ended, as a sentence without an end; empty while it is within its limits."""
        if not self.needed:
            return ""
        pids = tree(self._root)
        if self._processes and len(pids) > self._processes:
            return f"it runs {len(pids)} processes, its limit is {self._processes}"
        if self._memory and sum(map(_own_memory, pids)) > self._memory:
            used = sum(map(_proportional_memory, pids))  # pages that forked processes share are counted once
            if used > self._memory:
                return f"it uses {used // _MEBIBYTE} MiB of memory, its limit is {self._memory // _MEBIBYTE} MiB"
        return ""


class Growth:
    """Measures directories in a thread: a walk through a large one must not delay a stop. What the tree holds open and
    nobody can find by a name counts as well: an unlinked file fills the disk like any other, and a memory file the
    memory. 0: no limit."""

    def __init__(self, folders: list[str], limit_bytes: int, wake: int, *, root: int, memory_bytes: int) -> None:
        self._folders = folders
        self._limit = limit_bytes
        self._wake = wake
        self._root = root
        self._memory = memory_bytes
        self.exceeded = ""
        """Why the program must be ended; set once, with a byte to `wake`."""
        if (limit_bytes and folders) or memory_bytes:
            threading.Thread(target=self._measure, daemon=True).start()

    def _measure(self) -> None:
        at_first: int | None = None
        while True:
            began = time.monotonic()
            unlinked, in_memory = _nameless(tree(self._root))
            size = unlinked + (sum(map(_size, self._folders)) if self._limit else 0)
            at_first = size if at_first is None else at_first
            self.exceeded = self._judged(size - at_first, in_memory)
            if self.exceeded:
                with suppress(OSError):
                    os.write(self._wake, b"!")
                return
            time.sleep(max(_DISK_SECONDS, _DISK_SHARE * (time.monotonic() - began)))

    def _judged(self, grown: int, in_memory: int) -> str:
        if self._limit and self._folders and grown > self._limit:
            allowed = self._limit // _MEBIBYTE
            return f"its directories have grown by {grown // _MEBIBYTE} MiB, its limit is {allowed} MiB"
        if self._memory and in_memory > self._memory:
            allowed = self._memory // _MEBIBYTE
            return f"it holds {in_memory // _MEBIBYTE} MiB of memory in files, its limit is {allowed} MiB"
        return ""


def tree(root: int) -> list[int]:
    """Every living process below `root`."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                if fields[0] not in (b"Z", b"X"):
                    children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.pop(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _own_memory(pid: int) -> int:
    """Resident pages that are not of files: its own, and those of memory that it shares."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/status") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(("RssAnon:", "RssShmem:")))
    return 0


def _proportional_memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    except (OSError, ValueError):
        return _own_memory(pid)


def _nameless(pids: list[int]) -> tuple[int, int]:
    """Bytes of the files that these processes hold open and that have no name any more: on the disk, and in memory."""
    found: dict[tuple[int, int], tuple[int, bool]] = {}
    for pid in pids:
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    facts = os.stat(f"/proc/{pid}/fd/{fd}")
                    if facts.st_nlink == 0 and stat.S_ISREG(facts.st_mode):
                        in_memory = os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/memfd:")
                        found[facts.st_dev, facts.st_ino] = facts.st_blocks * 512, in_memory
    on_disk = sum(size for size, in_memory in found.values() if not in_memory)
    return on_disk, sum(size for size, in_memory in found.values() if in_memory)


def _size(folder: str) -> int:
    """Bytes on the disk below a folder, which is not followed out of by links."""
    total, waiting = 0, [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except PermissionError:
            entries = _opened(place)
        except OSError:
            continue
        for entry in entries:
            with suppress(OSError):
                facts = entry.stat(follow_symlinks=False)
                total += facts.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return total


def _opened(folder: str) -> list["os.DirEntry[str]"]:
    """A directory that was closed against us by its program, opened again: it must not hide files there."""
    with suppress(OSError):
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
        finally:
            os.close(fd)
        return list(os.scandir(folder))
    return []

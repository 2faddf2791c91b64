"""Limits that this kernel does not hold for us: memory and processes of a tree, and what its directories grow by.

Standard library only: the launcher uses it. A look is cheap when all is well; what looks like too much is measured
exactly before anything is ended for it.
"""

import os
import threading
import time
from contextlib import suppress

_MEBIBYTE = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
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
    """Measures directories in a thread: a walk through a large one must not delay a stop."""

    def __init__(self, folders: list[str], limit_bytes: int, wake: int) -> None:
        self._folders = folders
        self._limit = limit_bytes
        self._wake = wake
        self.exceeded = ""
        """Why the program must be ended; set once, with a byte to `wake`."""
        if limit_bytes and folders:
            threading.Thread(target=self._measure, daemon=True).start()

    def _measure(self) -> None:
        at_first: int | None = None
        while True:
            began = time.monotonic()
            size = sum(_size(folder) for folder in self._folders)
            at_first = size if at_first is None else at_first
            if size - at_first > self._limit:
                grown, allowed = (size - at_first) // _MEBIBYTE, self._limit // _MEBIBYTE
                self.exceeded = f"its directories have grown by {grown} MiB, its limit is {allowed} MiB"
                with suppress(OSError):
                    os.write(self._wake, b"!")
                return
            time.sleep(max(_DISK_SECONDS, _DISK_SHARE * (time.monotonic() - began)))


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
    """Resident pages that are not of files."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/statm") as file:
        fields = file.read().split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    return 0


def _proportional_memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss_Anon:"))
    except (OSError, ValueError):
        return _own_memory(pid)


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

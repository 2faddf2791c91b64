"""Limits that this kernel does not hold for us: memory and processes of a tree, and what its directories grow by.

Standard library only: the launcher uses it. A look is cheap when all is well; what looks like too much is measured
exactly before anything is ended for it.
"""

import os
import threading
import time
from contextlib import suppress

from sandbox import nameless

_MEBIBYTE = 1024 * 1024
_DISK_SECONDS = 1.0
_DISK_SHARE = 20
"""What takes long is done less often, so that it costs 5 % of one CPU at most."""


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
    """Measures directories in a thread: a walk through a large one must not delay a stop. What the tree holds without a
    name counts as well: an unlinked file fills the disk like any other, open or mapped, and a memory file the memory;
    so do sockets and pipes, by what the kernel may keep in them. 0: no limit."""

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
        named, next_walk = 0, 0.0
        while True:
            began = time.thread_time()  # and not on the clock: on a busy host a short look would be made seldom
            held = nameless.held(tree(self._root))
            looked = time.thread_time()
            if self._limit and time.monotonic() >= next_walk:
                named = sum(map(_size, self._folders))
                next_walk = time.monotonic() + _DISK_SHARE * (time.thread_time() - looked)
            at_first = named + held.on_disk if at_first is None else at_first
            self.exceeded = self._judged(named + held.on_disk - at_first, held)
            if self.exceeded:
                with suppress(OSError):
                    os.write(self._wake, b"!")
                return
            time.sleep(max(_DISK_SECONDS, _DISK_SHARE * (looked - began)))

    def _judged(self, grown: int, held: nameless.Held) -> str:
        if self._limit and self._folders and grown > self._limit:
            allowed = self._limit // _MEBIBYTE
            return f"its directories have grown by {grown // _MEBIBYTE} MiB, its limit is {allowed} MiB"
        allowed = self._memory // _MEBIBYTE
        if self._memory and held.in_memory > self._memory:
            return f"it holds {held.in_memory // _MEBIBYTE} MiB of memory in files, its limit is {allowed} MiB"
        if self._memory and held.in_buffers > self._memory:
            what = f"{held.sockets} sockets and {held.pipes} pipes"
            most = held.in_buffers // _MEBIBYTE
            return f"it holds {what}, in which the kernel keeps up to {most} MiB, its limit is {allowed} MiB"
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

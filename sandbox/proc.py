"""What /proc tells about a tree of processes: who is in it, and whether it works. Linux only."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Identity(NamedTuple):
    """A process, safe against reuse of its pid: no other process since boot has the same pid and start time."""

    pid: int
    started: int
    """Clock ticks after boot."""


class Usage(NamedTuple):
    """What a tree of processes has used up to now; only a growth between two readings means something."""

    cpu_seconds: float
    io_bytes: int


class _Stat(NamedTuple):
    identity: Identity
    parent: int
    state: str
    ticks: int
    is_monitor: bool
    """Named as podman's monitor of a container."""


def identity(pid: int) -> Identity | None:
    """None when there is no such process, or it has ended and only waits to be collected."""
    stat = _read_stat(pid)
    return stat.identity if stat and stat.state not in "ZX" else None


def parent(pid: int) -> int:
    """The process that started `pid`, or adopted it; 0 when there is no such process."""
    stat = _read_stat(pid)
    return stat.parent if stat else 0


def is_alive(process: Identity) -> bool:
    return identity(process.pid) == process


def boot_id() -> str:
    """Changes with each boot of the host: a start time of another boot names another process."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def tree(root: int) -> list[Identity]:
    """The living descendants of `root`, without itself."""
    return [stat.identity for stat in _descendants(root)]


def send(process: Identity, number: signal.Signals) -> bool:
    """Signal exactly this process. Returns False when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The pidfd holds whoever has the pid now; the check after it says whether that is the one we mean.
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def stopped_under(root: int) -> Identity | None:
    """A process that was stopped (SIGSTOP) on the line of eldest children from `root`, itself included, down; None
    when all of them can run.

    That line is a launcher, the wrappers that confine a program, and the program: none of them has a reason to stop.
    A process that the program stops itself, such as a shell's job, is a younger child of somebody. A container hangs
    below its engine's monitor and not below the client that asked for it.
    """
    children: dict[int, list[_Stat]] = {}
    at: _Stat | None = None
    for stat in _all_stats():
        children.setdefault(stat.parent, []).append(stat)
        if stat.identity.pid == root:
            at = stat
    while at is not None:
        if at.state == "T":
            return at.identity
        living = [stat for stat in children.pop(at.identity.pid, []) if stat.state not in "ZX"]
        at = min(living, key=lambda stat: (not stat.is_monitor, stat.identity.started, stat.identity.pid), default=None)
    return None


def working_in(*folders: Path) -> list[Identity]:
    """The living processes whose working directory is one of `folders` or below, wherever they hang in the tree."""
    # A directory that was removed stands there as "<path> (deleted)".
    starts = tuple(f"{folder}{end}" for folder in folders for end in ("/", " "))
    found = []
    for stat in _all_stats():
        with suppress(OSError):  # another user's, or gone
            if f"{os.readlink(f'/proc/{stat.identity.pid}/cwd')}/".startswith(starts):
                found.append(stat)
    return [stat.identity for stat in found if stat.state not in "ZX"]


class Meter:
    """Adds up the CPU time and the bytes of a tree over its life, processes that have ended included as last seen."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._seen: dict[Identity, tuple[int, int]] = {}

    def read(self) -> Usage:
        for stat in _descendants(self._root):
            self._seen[stat.identity] = (stat.ticks, _io_bytes(stat.identity.pid))
        ticks = sum(ticks for ticks, _ in self._seen.values())
        return Usage(ticks / _TICKS_A_SECOND, sum(size for _, size in self._seen.values()))

    def known(self) -> list[Identity]:
        """Every process of the tree that a reading has met."""
        return list(self._seen)


def _descendants(root: int) -> list[_Stat]:
    children: dict[int, list[_Stat]] = {}
    for stat in _all_stats():
        children.setdefault(stat.parent, []).append(stat)
    found: list[_Stat] = []
    waiting = [root]
    while waiting:
        below = [stat for stat in children.pop(waiting.pop(), []) if stat.state not in "ZX"]
        found += below
        waiting += [stat.identity.pid for stat in below]
    return found


def _all_stats() -> Iterator[_Stat]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := _read_stat(int(name))):
            yield stat


def _read_stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # proc(5): the name in brackets may hold anything, so fields count from the last bracket; state is field 3.
            name, _, rest = file.read().rpartition(b")")
            fields = rest.split()
    except OSError:
        return None
    if len(fields) < 20:
        return None
    # 14-17: user and system time, and the same of children that were waited for. 22: start time.
    ticks = sum(int(field) for field in fields[11:15])
    state, monitor = fields[0].decode("ascii", "replace"), name.endswith(b"(conmon")
    return _Stat(Identity(pid, int(fields[19])), int(fields[1]), state, ticks, monitor)


def _io_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
    except OSError:
        return 0
    return int(lines.get(b"rchar", 0)) + int(lines.get(b"wchar", 0))

"""A control group around one confined tree: memory and processes counted by the kernel, where we may make one.

Both versions of the interface. Standard library only: the launcher uses it. Without a place to make a group there is
none, and the launcher's own watch holds the limits instead.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress

_REMOVE_SECONDS = 2.0
_PREFIX = "fettle-"


def available() -> bool:
    """Whether this process may make a group here."""
    group = Group.make(0, 0)
    if group is not None:
        group.remove()
    return group is not None


class Group:
    """Directories of one group: one with version 2, one for each controller with version 1."""

    def __init__(self, folders: dict[str, str], *, unified: bool) -> None:
        self._folders = folders
        self._unified = unified

    @classmethod
    def make(cls, memory_bytes: int, processes: int) -> "Group | None":
        """A group with these limits (0: none); None when this process may not make one."""
        for make in (_unified, _separate):
            group = make()
            if group is None:
                continue
            try:
                group._limit(memory_bytes, processes)
                return group
            except OSError:
                group.remove()
        return None

    def join(self) -> None:
        """Put the calling process and its future children in. Raises OSError when the kernel refuses."""
        for folder in set(self._folders.values()):
            _write(f"{folder}/cgroup.procs", str(os.getpid()))

    def kill(self) -> None:
        """End every process of the group in one step, where the kernel can (version 2)."""
        if self._unified:
            with suppress(OSError):
                _write(f"{self._folders['memory']}/cgroup.kill", "1")

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of the group for its memory."""
        name = "memory.events" if self._unified else "memory.oom_control"
        with suppress(OSError), open(f"{self._folders['memory']}/{name}") as file:
            facts = dict(line.split() for line in file.read().splitlines() if len(line.split()) == 2)
            return int(facts.get("oom_kill", 0)) > 0
        return False

    def remove(self) -> None:
        """Give the group back. A process that is still ending keeps it for a moment."""
        until = time.monotonic() + _REMOVE_SECONDS
        for folder in set(self._folders.values()):
            while True:
                try:
                    os.rmdir(folder)
                except OSError as busy:
                    if busy.errno == errno.EBUSY and time.monotonic() < until:
                        time.sleep(0.02)
                        continue
                break

    def _limit(self, memory_bytes: int, processes: int) -> None:
        memory, pids = self._folders["memory"], self._folders["pids"]
        if memory_bytes:
            _write(f"{memory}/{'memory.max' if self._unified else 'memory.limit_in_bytes'}", str(memory_bytes))
            swap = f"{memory}/{'memory.swap.max' if self._unified else 'memory.memsw.limit_in_bytes'}"
            with suppress(OSError):  # a kernel that does not count swap has no such file
                _write(swap, "0" if self._unified else str(memory_bytes))
        if processes:
            _write(f"{pids}/pids.max", str(processes))


def _unified() -> Group | None:
    for mount, kind, options in _mounts():
        if kind != "cgroup2" or "ro" in options.split(","):
            continue
        own = mount + _own_path("").rstrip("/")
        for parent in (own, os.path.dirname(own)):
            if not parent.startswith(mount) or (parent != own and not _delegated(parent)):
                continue
            folder = _folder(parent)
            with suppress(OSError):
                os.mkdir(folder)
                if _has_controllers(parent, folder):
                    return Group({"memory": folder, "pids": folder}, unified=True)
                os.rmdir(folder)
    return None


def _folder(parent: str) -> str:
    """Where this process's group goes. Groups of launchers that were killed are removed on the way."""
    with suppress(OSError):
        for name in os.listdir(parent):
            pid = name.removeprefix(_PREFIX)
            if name.startswith(_PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                with suppress(OSError):
                    os.rmdir(f"{parent}/{name}")
    return f"{parent}/{_PREFIX}{os.getpid()}"


def _has_controllers(parent: str, folder: str) -> bool:
    needed = ("memory.max", "pids.max")
    if not all(os.path.exists(f"{folder}/{name}") for name in needed):
        with suppress(OSError):  # refused while processes live in the parent itself, as the kernel's rule is
            _write(f"{parent}/cgroup.subtree_control", "+memory +pids")
    return all(os.path.exists(f"{folder}/{name}") for name in needed)


def _delegated(folder: str) -> bool:
    """Whether a service manager has given this part of the tree away; without one, nobody else writes there."""
    for name in ("trusted.delegate", "user.delegate"):
        with suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return not os.path.isdir("/run/systemd/system") and os.access(f"{folder}/cgroup.procs", os.W_OK)


def _separate() -> Group | None:
    folders: dict[str, str] = {}
    for mount, kind, options in _mounts():
        if kind != "cgroup" or "ro" in options.split(","):
            continue
        for controller in {"memory", "pids"} & set(options.split(",")):
            below = mount + _own_path(controller).rstrip("/")
            parent = below if os.path.isdir(below) else mount
            folder = _folder(parent)
            with suppress(OSError):
                os.mkdir(folder)
                folders[controller] = folder
    if folders.keys() == {"memory", "pids"}:
        return Group(folders, unified=False)
    for folder in folders.values():
        with suppress(OSError):
            os.rmdir(folder)
    return None


def _mounts() -> Iterator[tuple[str, str, str]]:
    with suppress(OSError), open("/proc/self/mounts") as file:
        for line in file:
            fields = line.split()
            if len(fields) >= 4:
                yield fields[1], fields[2], fields[3]


def _own_path(controller: str) -> str:
    """This process's place in a hierarchy; the empty name is version 2."""
    with suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controller in controllers.split(","):
                return path
    return "/"


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)

"""What processes hold and nobody finds by a name: files without one, open or mapped, and the kernel's buffers.

Standard library only: the launcher uses it. Not seen is what no process holds at the moment of a look: a file that was
sent through a socket and not yet received.
"""

import os
import stat
from contextlib import suppress
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEMORY_FILE = "/memfd:"
_IN_MEMORY = (_MEMORY_FILE, "/dev/zero", "/SYSV")
"""How the names of mappings begin whose pages are counted with the memory of those that map them."""
_DELETED = " (deleted)"
_USUAL_SOCKET = 212992
_LARGEST_PIPE = 1 << 20
_SMALLEST_PIPE_PAGES = 2


class Held(NamedTuple):
    """Bytes, and how many of what keeps some."""

    on_disk: int = 0
    """Of files without a name."""
    in_memory: int = 0
    """Of memory files."""
    in_buffers: int = 0
    """Of what the kernel may keep in sockets and pipes at most."""
    sockets: int = 0
    pipes: int = 0


def held(pids: list[int]) -> Held:
    """What these processes hold together."""
    files: dict[tuple[int, int], tuple[int, bool]] = {}
    sockets: set[int] = set()
    pipes: set[int] = set()
    for pid in pids:
        _look_at_open(pid, files, sockets, pipes)
        _look_at_mapped(pid, files)
    memory = sum(size for size, in_memory in files.values() if in_memory)
    disk = sum(size for size, in_memory in files.values() if not in_memory)
    buffers = len(sockets) * _of_a_socket() + len(pipes) * _of_a_pipe()
    return Held(disk, memory, buffers, len(sockets), len(pipes))


def _look_at_open(pid: int, files: dict[tuple[int, int], tuple[int, bool]], sockets: set[int], pipes: set[int]) -> None:
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                facts = os.stat(f"/proc/{pid}/fd/{fd}")
                if stat.S_ISSOCK(facts.st_mode):
                    sockets.add(facts.st_ino)
                elif stat.S_ISFIFO(facts.st_mode):
                    pipes.add(facts.st_ino)
                elif facts.st_nlink == 0 and stat.S_ISREG(facts.st_mode):
                    in_memory = os.readlink(f"/proc/{pid}/fd/{fd}").startswith(_MEMORY_FILE)
                    files[facts.st_dev, facts.st_ino] = facts.st_blocks * 512, in_memory


def _look_at_mapped(pid: int, files: dict[tuple[int, int], tuple[int, bool]]) -> None:
    """Root is told of the whole file. Anybody else of the part that is mapped, which is counted up to its end; and the
    memory files among them are counted with the memory of the process."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/maps", errors="replace") as maps:
        for line in maps:
            if not line.endswith(f"{_DELETED}\n"):
                continue
            place, _, offset, device, inode, name = line.split(None, 5)
            try:
                facts = os.stat(f"/proc/{pid}/map_files/{place}")
            except OSError:
                if not name.startswith(_IN_MEMORY):
                    first, _, end = place.partition("-")
                    major, _, minor = device.partition(":")
                    key = os.makedev(int(major, 16), int(minor, 16)), int(inode)
                    mapped = int(offset, 16) + int(end, 16) - int(first, 16)
                    files[key] = max(files.get(key, (0, False))[0], mapped), False
                continue
            if facts.st_nlink == 0 and stat.S_ISREG(facts.st_mode) and not name.startswith(_IN_MEMORY[1:]):
                files[facts.st_dev, facts.st_ino] = facts.st_blocks * 512, name.startswith(_MEMORY_FILE)


def _of_a_socket() -> int:
    """What a Unix socket keeps of what it has sent and nobody has received: the filter of calls holds it to that. Those
    of TCP and UDP may keep more, and the kernel bounds all of the host's together (tcp_mem, udp_mem)."""
    return _setting("net/core/wmem_default", _USUAL_SOCKET)


def _of_a_pipe() -> int:
    """Two pages once its user's pipes have grown to a sum that the kernel sets, 64 MiB unless somebody changed it."""
    if _setting("fs/pipe-user-pages-soft", 1):
        return _SMALLEST_PIPE_PAGES * _PAGE
    return max(_setting("fs/pipe-max-size", _LARGEST_PIPE), _LARGEST_PIPE)


def _setting(name: str, otherwise: int) -> int:
    with suppress(OSError, ValueError), open(f"/proc/sys/{name}") as file:
        return int(file.read())
    return otherwise

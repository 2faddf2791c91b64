"""Tries to get out of the sandbox it runs in, and prints what it could do: how a level is proven on a host.

Run as `python -I -S attempt.py FACTS`, standard library only. FACTS is JSON: `secret` is a file with a word in it,
`beside` a directory, `port` and `socket` listen, all outside of the sandbox. Prints one JSON object: each wall's name,
and whether there was a way through it.
"""

import ctypes
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any

_CLONE_NEWUSER = 0x10000000
_IO_URING_SETUP = 425
_EPERM_OR_ABSENT = (1, 38)


def main(facts: dict[str, Any]) -> dict[str, bool]:
    tries: dict[str, Callable[[], bool]] = {
        "WRITES": lambda: _writes(facts["beside"]),
        "READS": lambda: facts["word"] in _read(facts["secret"]),
        "WORKER_SECRETS": lambda: any(
            facts["word"] in _read(f"/proc/{pid}/environ") for pid in os.listdir("/proc") if pid.isdigit()
        ),
        "NAMESPACES": _new_namespace,
        "KERNEL": _io_uring,
        "NETWORK": lambda: _connects(socket.AF_INET, ("127.0.0.1", facts["port"])),
        "HOST_SOCKETS": lambda: _connects(socket.AF_UNIX, facts["socket"]),
    }
    found = {}
    for name, attempt in tries.items():
        try:
            found[name] = attempt()
        except OSError:
            found[name] = False
    # What must work, or the level is of no use.
    found["works"] = _writes(os.getcwd()) and _writes(os.environ["HOME"]) and _writes(tempfile.gettempdir())
    return found


def _writes(folder: str) -> bool:
    path = os.path.join(folder, "attempt")
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)
    return True


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def _new_namespace() -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(_CLONE_NEWUSER) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _io_uring() -> bool:
    """An invalid request: the answer of a kernel that would have listened is another one than that of a wall."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(_IO_URING_SETUP, 0, None)
    return ctypes.get_errno() not in _EPERM_OR_ABSENT


def _connects(family: int, address: Any) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as trying:
        trying.settimeout(1)
        trying.connect(address)
    return True


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))  # noqa: T201 - the line is the interface

"""How the launcher starts its program: fork, take from the child what it must not have, execute.

Standard library only. The order matters: a right that a later step needs is given up after it.
"""

import binascii
import ctypes
import os
import resource
import signal
import stat
from contextlib import suppress
from typing import Any, NoReturn

from sandbox import cgroups

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_MS_NOSUID_NODEV = 2 | 4
_MS_SLAVE_BELOW = 0x4000 | 0x80000
_SHARED_MEMORY = "/dev/shm"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def start(spec: dict[str, Any], keep: tuple[int, ...], group: cgroups.Group | None) -> int:
    """Fork and execute the program in its own session; its pid.

    Raises:
        OSError: a step failed, as `execve` or `chdir` or the one named in the text did.
    """
    for fd in keep:
        os.set_inheritable(fd, False)
    if spec["account"]:
        for path in spec["own"]:
            give(path, *spec["account"])
    launcher = os.getpid()
    failed, report = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _be_program(spec, launcher, report, group)
    os.close(report)
    with os.fdopen(failed, "rb") as answer:
        said = answer.read().decode()
    if said:
        os.waitpid(pid, 0)
        number, _, step = said.partition(" ")
        raise OSError(int(number), f"{os.strerror(int(number))}{f' ({step})' if step else ''}")
    return pid


def give(root: str, uid: int, gid: int) -> None:
    """Make a tree of ours the account's. A file with a second name is left alone: that name may be elsewhere.

    Every directory is reached from its parent, and no link is followed: a program of the same account may be alive, and
    a path that it changes between a look and a step must not hand it a file of ours.
    """
    os.lchown(root, uid, gid)
    with suppress(NotADirectoryError):
        top = os.open(root, _DIRECTORY)
        try:
            _give_below(top, uid, gid)
        finally:
            os.close(top)


def _give_below(top: int, uid: int, gid: int) -> None:
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        way = waiting.pop()
        with suppress(OSError):  # gone, or a directory no more
            folder = _opened(top, way)
            try:
                with os.scandir(folder) as entries:
                    names = [entry.name for entry in entries]
                waiting += [(*way, name) for name in names if _give_one(folder, name, uid, gid)]
            finally:
                os.close(folder)


def _opened(top: int, way: tuple[str, ...]) -> int:
    at = os.dup(top)
    for name in way:
        above = at
        try:
            at = os.open(name, _DIRECTORY, dir_fd=above)
        finally:
            os.close(above)
    return at


def _give_one(folder: int, name: str, uid: int, gid: int) -> bool:
    """Whether it is a directory."""
    with suppress(OSError):
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        is_folder = stat.S_ISDIR(facts.st_mode)
        if facts.st_uid == os.geteuid() and (facts.st_nlink == 1 or is_folder):
            os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
        return is_folder
    return False


def _be_program(spec: dict[str, Any], launcher: int, report: int, group: cgroups.Group | None) -> NoReturn:
    """The forked child: never returns. An error travels as its number and step through `report`, which execve
    closes."""
    step = ""
    try:
        os.setsid()
        if group is not None:
            step = "entering the control group"
            group.join()
        step = "lowering the limits"
        _lower(spec)
        if spec["own_network"]:
            step = "making a network of its own"
            _separate_network()
        if spec["shared_memory"]:
            step = "making shared memory of its own"
            separate_shared_memory(spec["shared_memory"])
        if spec["account"]:
            step = "changing the account"
            _change_account(*spec["account"])
        # After the account: its change would undo this. If the launcher is killed, the kernel ends the program; its
        # children are then the worker's to find.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != launcher:
            os._exit(1)  # it was killed before the line above took effect
        for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with suppress(OSError, ValueError):
                signal.signal(each, signal.SIG_DFL)  # Python ignores SIGPIPE, and a child would inherit that
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.set_wakeup_fd(-1)
        os.closerange(3, report)
        os.closerange(report + 1, max(report + 2, 65536))
        step = "handing over its data"
        _hand_over(spec["payloads"], spec["first_payload"])
        step = ""
        os.chdir(spec["cwd"])
        if spec["seccomp"]:
            step = "filtering its system calls"
            from sandbox import seccomp  # needed by one level only

            seccomp.install(binascii.a2b_base64(spec["seccomp"]))
            step = ""
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # `env` decides the PATH, as for any child
    except OSError as error:
        os.write(report, f"{error.errno or 1} {step}".encode())
    except BaseException:
        os.write(report, f"22 {step}".encode())
    finally:
        os._exit(127)


def _lower(spec: dict[str, Any]) -> None:
    for name, wanted in spec["limits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (value, value))
    with suppress(OSError):  # already nicer than that
        os.setpriority(os.PRIO_PROCESS, 0, max(spec["niceness"], os.getpriority(os.PRIO_PROCESS, 0)))


def _separate_network() -> None:
    """A network with nothing but its own loopback, and with it the abstract Unix sockets; a System V IPC too."""
    import fcntl  # needed by one level only, like the next two
    import socket
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def separate_shared_memory(size: int) -> None:
    """Replace the host's shared memory, for this process and its children, by an empty one of `size` bytes that goes
    with them: in the host's anybody may write, and what lies there stays.

    Raises:
        OSError: this process may make no mounts.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={size},mode=1777".encode()
    if (
        libc.unshare(_CLONE_NEWNS) != 0
        or libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_SLAVE_BELOW), None) != 0
        or libc.mount(b"tmpfs", _SHARED_MEMORY.encode(), b"tmpfs", ctypes.c_ulong(_MS_NOSUID_NODEV), options) != 0
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _change_account(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _hand_over(payloads: list[str], first: int) -> None:
    for number, payload in enumerate(payloads, first):
        fd = os.memfd_create("payload", 0)
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(binascii.a2b_base64(payload))
        os.lseek(fd, 0, os.SEEK_SET)
        os.dup2(fd, number)
        os.close(fd)

"""Landlock: files that a process and its children may use, held by the kernel beside permissions and mounts.

A second wall inside a mount namespace, the first one for an account that shares the host's files. Standard library
only, since it is loaded inside the sandbox. Rights and structures are those of the kernel's `landlock.h`.
"""

import ctypes
import errno
import os
import stat
import struct

_CREATE = 444
_ADD_RULE = 445
_RESTRICT = 446
"""System calls younger than the common table have one number on every architecture."""
_PATH_BENEATH = 1
_VERSION = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""Rights that a rule about a single file may name; with others the kernel refuses it."""
_NEWEST = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights of files each version of the interface knows; later ones add none."""
_SCOPE_ABSTRACT_SOCKETS = 1 << 0
_SCOPE_SIGNALS = 1 << 1
SIGNALS_VERSION = 6
"""The first that keeps signals and abstract Unix sockets inside."""
LEAST_VERSION = 2
"""Version 1 refuses every rename from one directory to another, which package installers live on."""


def version() -> int:
    """Version of the interface in this kernel; 0 when it has none, or it is not switched on."""
    found = int(_libc().syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)))
    return max(0, found)


def restrict(read: list[str], write: list[str]) -> bool:
    """Allow this process the files below `read` (execution included) and everything below `write`; nothing else.

    Paths that do not exist are left out. Also keeps signals and abstract sockets inside, where the kernel can.

    Returns:
        Whether it holds now: False on a kernel without Landlock.

    Raises:
        OSError: the kernel has it and refuses.
    """
    found = version()
    if found < LEAST_VERSION:
        return False
    everything = (1 << _NEWEST.get(found, 16)) - 1
    attributes = struct.pack("<Q", everything)
    if found >= SIGNALS_VERSION:
        attributes += struct.pack("<QQ", 0, _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS)
    rules = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for rights, paths in ((_READ, read), (everything, write)):
            for path in paths:
                _allow(rules, path, rights & everything)
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)
    return True


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as missing:
        if missing.errno in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("<Qi", rights, place)
        _call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    answer = int(_libc().syscall(number, *arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

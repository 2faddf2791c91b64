"""A filter of system calls: what no build, test or editor needs, and what has let programs out of namespaces before.

Everything else is allowed: a list of what may be called would break the tools that agents run. Standard library only,
since it is also loaded inside the sandbox, and little of it: every import is paid for by every start. Numbers are those
of the kernel's tables; another architecture has none here and gets no filter, which a level must treat as a missing
wall.
"""

import ctypes
import errno
import os
import struct

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_MODE_FILTER = 2

_LOAD = 0x20  # one 32-bit word of struct seccomp_data
_EQUAL = 0x15
_AT_LEAST = 0x35
_ABOVE = 0x25
_AND = 0x54
_ANY_BIT = 0x45
_RETURN = 0x06

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENTS = 16
"""Offsets in struct seccomp_data. Arguments have 64 bits; both architectures put the low word first."""

_X32 = 0x40000000
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_NAMESPACES = 0x7E020000
"""CLONE_NEW* without NEWTIME, whose bit is part of the exit signal in `clone`."""
_NEW_TIME = 0x80
_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: both type into the terminal of whoever started us."""

_AF_UNIX = 1
_FAMILIES = (2, 10)
_STREAMS = (1, 5)
"""SOCK_STREAM and SOCK_SEQPACKET: an end of such a pair can never be connected to anything else. An end of a pair of
datagram sockets sends to any address."""
_TYPE_BITS = 0xF
"""What of a socket's type is no flag."""
_NETLINK = 16
"""Allowed for protocol 0 (routes) alone: names of network interfaces are asked there. What is left out matters:
AF_VSOCK talks past every network namespace to the host of a virtual machine."""

_REFUSED = {
    # number on x86_64, on aarch64 (None: no such call)
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
}
_ABSENT = {"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)}
"""Answered as by a kernel without them, so that programs take their other way."""
_CLONE = (56, 220)
_CLONE3 = (435, 435)
"""Its flags are behind a pointer, which a filter cannot follow: absent, and libc uses `clone`."""
_UNSHARE = (272, 97)
_IOCTL = (16, 29)
_SOCKET = (41, 198)
_SOCKETPAIR = (53, 199)
_SETSOCKOPT = (54, 208)
_SEND_BUFFER = (1, 7)
"""SOL_SOCKET and SO_SNDBUF: what a Unix socket keeps of what it has sent is its own, up to this."""
_SHMGET = (29, 194)
_OTHER_SYSTEM_V = {"semget": (64, 190), "msgget": (68, 186)}
SMALL_SEGMENT = 4096
"""Bytes, a page: what PostgreSQL takes as its lock, beside memory of another kind. A kernel has 4096 segments for one
namespace, so that these are 16 MiB at most."""

_Instruction = tuple[int, int, int, int]


def supported(machine: str | None = None) -> bool:
    """Whether there is a table for this machine's architecture."""
    return (machine or os.uname().machine) in _AUDIT


def program(*, machine: str | None = None, unix_sockets: bool = True, segment: int | None = None) -> bytes:
    """The filter as the kernel takes it (an array of struct sock_filter).

    Args:
        machine: Architecture as `uname -m` says it; None: this machine's.
        unix_sockets: False refuses to make Unix sockets; pairs of connected streams are still made.
        segment: For a program whose memory no control group counts: the largest System V segment, in bytes. Semaphores
            and messages of that kind are then refused, since no process holds them; and a request for more memory in
            a socket is answered and not heeded, so that what sockets keep can be told by their number. None: neither.

    Raises:
        LookupError: there is no table for this architecture.
    """
    machine = machine or os.uname().machine
    if machine not in _AUDIT:
        raise LookupError(f"the filter of system calls knows {', '.join(_AUDIT)}, this machine is {machine}")
    column = 0 if machine == "x86_64" else 1
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),  # calls of another architecture have other numbers
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), _refuse(errno.ENOSYS)]
    for numbers in _REFUSED.values():
        code += _on(numbers[column], [_refuse(errno.EPERM)])
    for numbers in (*_ABSENT.values(), _CLONE3):
        code += _on(numbers[column], [_refuse(errno.ENOSYS)])
    code += _on(_CLONE[column], _refused_bits(0, _NAMESPACES))
    code += _on(_UNSHARE[column], _refused_bits(0, _NAMESPACES | _NEW_TIME))
    code += _on(_IOCTL[column], _refused_values(1, _TERMINAL_INPUT))
    if segment is not None:
        code += _on(_SHMGET[column], _at_most(1, segment))
        for numbers in _OTHER_SYSTEM_V.values():
            code += _on(numbers[column], [_refuse(errno.ENOSYS)])
        code += _on(_SETSOCKOPT[column], _unheeded())
    code += _on(_SOCKET[column], _sockets((*_FAMILIES, _AF_UNIX) if unix_sockets else _FAMILIES))
    if not unix_sockets:
        code += _on(_SOCKETPAIR[column], _pairs())
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *each) for each in code)


def install(code: bytes) -> None:
    """Put a filter over this process and all its children, for good. Also gives up the way to new privileges.

    Raises:
        OSError: the kernel refuses.
    """

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    wanted = Program(len(code) // 8, code)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _refuse(number: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _on(number: int | None, body: list[_Instruction]) -> list[_Instruction]:
    """Run `body` for one system call. One that comes to its end has loaded the call's number again."""
    if number is None:
        return []
    return [(_EQUAL, 0, len(body), number), *body]


def _argument(index: int) -> _Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _refused_bits(index: int, bits: int) -> list[_Instruction]:
    return [_argument(index), (_ANY_BIT, 0, 1, bits), _refuse(errno.EPERM), (_LOAD, 0, 0, _NUMBER)]


def _refused_values(index: int, values: tuple[int, ...]) -> list[_Instruction]:
    body = [_argument(index)]
    for value in values:
        body += [(_EQUAL, 0, 1, value), _refuse(errno.EPERM)]
    return [*body, (_LOAD, 0, 0, _NUMBER)]


def _at_most(index: int, most: int) -> list[_Instruction]:
    high = (_LOAD, 0, 0, _ARGUMENTS + 8 * index + 4)
    body = [high, (_EQUAL, 0, 2, 0), _argument(index), (_ABOVE, 0, 1, most)]
    return [*body, _refuse(errno.EINVAL), (_LOAD, 0, 0, _NUMBER)]


def _unheeded() -> list[_Instruction]:
    level, name = _SEND_BUFFER
    body = [_argument(1), (_EQUAL, 0, 3, level), _argument(2), (_EQUAL, 0, 1, name), _refuse(0)]
    return [*body, (_LOAD, 0, 0, _NUMBER)]


def _sockets(families: tuple[int, ...]) -> list[_Instruction]:
    body = [_argument(0)]
    for family in families:
        body += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    netlink = [_argument(2), (_EQUAL, 0, 1, 0), (_RETURN, 0, 0, _ALLOW)]
    return [*body, (_EQUAL, 0, len(netlink), _NETLINK), *netlink, _refuse(errno.EAFNOSUPPORT)]


def _pairs() -> list[_Instruction]:
    body = [_argument(1), (_AND, 0, 0, _TYPE_BITS)]
    for kind in _STREAMS:
        body += [(_EQUAL, 0, 1, kind), (_RETURN, 0, 0, _ALLOW)]
    return [*body, _refuse(errno.EAFNOSUPPORT)]

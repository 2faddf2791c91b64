"""Which parts of this host's file system a confined program is shown: the system's, its own, and the operator's choice.

Nothing that a run's data could name is shown: paths come from settings, from the installed programs, and from us.
"""

import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

SYSTEM: Final = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")))
"""Linked into /usr on most systems, directories of their own on others."""
CONFIGURATION: Final = tuple(
    Path("/etc", name)
    for name in (
        *("alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "fonts"),
        *("gai.conf", "host.conf", "java", "java-17-openjdk", "java-21-openjdk", "ld.so.cache", "ld.so.conf"),
        *("ld.so.conf.d", "locale.alias", "locale.conf", "localtime", "lsb-release", "magic", "maven", "mime.types"),
        *("nsswitch.conf", "os-release", "pki/ca-trust", "pki/tls/certs", "pki/tls/openssl.cnf", "protocols"),
        *("services", "shells", "ssl/certs", "ssl/openssl.cnf", "timezone"),
    )
)
"""What libraries and tool chains read. Left out on purpose: accounts, private keys, and any program's credentials."""
OWN: Final = Path(__file__).resolve().parent
"""This package: what runs inside a sandbox before the program is part of it."""

_PACKAGES: Final = "node_modules"
_NARROW: Final = 2
"""A prefix this far below a home directory is one program's; nearer it holds what else its owner has."""


def interpreter(account: tuple[int, int] | None = None) -> Path:
    """A Python for our own steps inside a sandbox: the worker's, or the system's where an account cannot use that.

    Raises:
        LookupError: there is none that the account can execute.
    """
    found = [Path(sys.executable).resolve(), Path("/usr/bin/python3")]
    for each in found:
        if each.is_file() and (account is None or reachable(each, *account)):
            return each
    raise LookupError(f"no Python can be executed by user {account[0] if account else ''}: {found[0]} is closed to it")


def reachable(path: Path, uid: int, gid: int, end: int = 0o5) -> bool:
    """Whether every directory on the way lets that user pass, and the last part has the rights `end` for it."""
    for each in (path, *path.parents):
        try:
            facts = each.stat()
        except OSError:
            return False
        needed = 0o1 if each is not path else end
        shift = 6 if facts.st_uid == uid else 3 if facts.st_gid == gid else 0
        if facts.st_mode >> shift & needed != needed:
            return False
    return True


def of_interpreter(python: Path) -> list[Path]:
    """What a Python needs beside its binary; also the worker's virtual environment, whose programs may be called."""
    found = [Path(sys.base_prefix), Path(sys.prefix)] if python == Path(sys.executable).resolve() else []
    return [each for each in found if each.is_absolute()]


def of_program(name: str, path: str, shown: Iterable[Path] = ()) -> tuple[str, list[Path]]:
    """The program to execute, and what must be shown for it.

    Args:
        name: `argv[0]`: a name to be searched for in `path`, or a path.
        path: The PATH of its environment.
        shown: What is shown anyway; a program there keeps its name, which may be a link into another tree.

    Raises:
        LookupError: there is no such program on this host.
    """
    if "/" in name and not name.startswith("/"):
        return name, []  # its own worktree's, which is shown
    found = shutil.which(name, path=path)
    if found is None:
        raise LookupError(f"{name} is not in the PATH of this host")
    real = Path(found).resolve()
    if _below(Path(found), (*SYSTEM, *shown)):
        return found, _needed(real)
    return str(real), _needed(real)


def outermost(paths: Iterable[Path]) -> list[Path]:
    """The paths without those that are below another one, parents first."""
    kept: list[Path] = []
    for path in sorted({Path(os.path.abspath(each)) for each in paths}, key=lambda each: len(each.parts)):
        if not _below(path, kept):
            kept.append(path)
    return kept


def existing_system() -> Iterator[tuple[Path, str]]:
    """The system's directories here, each with the target when it is a link."""
    for path in SYSTEM:
        if path.is_symlink():
            yield path, os.readlink(path)
        elif path.is_dir():
            yield path, ""


def _needed(real: Path) -> list[Path]:
    """The tree of a program, and of the interpreter that its first line names."""
    found = [] if _below(real, SYSTEM) else [_tree(real)]
    interpreter_name = _first_line(real)
    if interpreter_name:
        where = shutil.which(interpreter_name, path=f"{real.parent}:{os.environ.get('PATH', os.defpath)}")
        if where and Path(where).resolve() != real:
            inner = Path(where).resolve()
            found += [] if _below(inner, SYSTEM) else [_tree(inner)]
    return found


def _tree(real: Path) -> Path:
    if _PACKAGES in real.parts:
        return Path(*real.parts[: real.parts.index(_PACKAGES) + 1])
    prefix = real.parent.parent
    if real.parent.name in {"bin", "sbin", "libexec"} and _is_narrow(prefix):
        return prefix
    return real


def _is_narrow(prefix: Path) -> bool:
    for home in {Path.home(), Path("/home"), Path("/root")}:
        if prefix == home or prefix in home.parents:
            return False
        if home in prefix.parents:
            steps = len(prefix.relative_to(home).parts) - (1 if home == Path("/home") else 0)
            return steps > _NARROW
    return len(prefix.parts) > _NARROW  # /opt/tool, and not /opt


def _first_line(real: Path) -> str:
    """The interpreter of a script, `env` seen through; empty for a binary."""
    try:
        if not stat.S_ISREG(real.stat().st_mode):
            return ""
        with real.open("rb") as file:
            head = file.read(256)
    except OSError:
        return ""
    if not head.startswith(b"#!"):
        return ""
    words = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else ""


def _below(path: Path, roots: Iterable[Path]) -> bool:
    return any(path == root or root in path.parents for root in roots)

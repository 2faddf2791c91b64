"""Finding an agent's program: the native binary behind a wrapper, its version, and the switches that it knows.

A wrapper (a script that starts the real program) is not run for a turn: killed, it would leave the real one finishing
the turn as an orphan.
"""

import functools
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domain import agent

_SECONDS: Final = 20
_VERSION: Final = re.compile(r"\b\d+\.\d+\.\d+[0-9A-Za-z.+-]*")
_SWITCH: Final = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*", re.IGNORECASE)
_ARCHITECTURES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


class NoAnswer(Exception):
    """The program does not say its version; the text is a sentence for the operator."""


@dataclass(frozen=True)
class Probe:
    """What a program says about itself."""

    version: str
    switches: frozenset[str]

    def capability(self, verified_majors: frozenset[int], optional: Sequence[str]) -> agent.Capability:
        """In the words of the domain. A major version that is not among the verified ones is marked."""
        major = self.version.partition(".")[0]
        known = tuple(switch for switch in optional if switch in self.switches)
        verified = major.isdigit() and int(major) in verified_majors
        return agent.Capability(version=self.version, verified=verified, flags=known)


def in_path(program: str, env: Mapping[str, str]) -> str | None:
    """The program of that name in the PATH of `env`."""
    return shutil.which(program, path=env.get("PATH", os.defpath))


def native(found: str, patterns: Sequence[str]) -> str:
    """The native binary behind `found`, or `found` itself when it is one or none is there.

    Args:
        patterns: Where a package keeps the binary, as globs below the package's folder or beside it; `{arch}` stands
            for `x64` or `arm64`.
    """
    wrapper = Path(found).resolve()
    if _is_native(wrapper):
        return str(wrapper)
    arch = _ARCHITECTURES.get(platform.machine().lower(), "unknown")
    for package in wrapper.parents[:3]:
        for pattern in patterns:
            for candidate in sorted(package.glob(pattern.format(arch=arch))):
                if _is_native(candidate) and os.access(candidate, os.X_OK):
                    return str(candidate.resolve())
    return found


def probe(path: str, help_arguments: tuple[str, ...], env: Mapping[str, str]) -> Probe:
    """Ask a program for its version and its switches; once for each version of the file.

    Raises:
        NoAnswer: it cannot be run, or does not name a version.
    """
    try:
        facts = os.stat(path)
    except OSError as error:
        raise NoAnswer(f"{path} cannot be read ({error.strerror}): install it again") from error
    identity = (facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size)
    return _probe(path, help_arguments, env.get("PATH", os.defpath), identity)


@functools.lru_cache(maxsize=64)
def _probe(path: str, help_arguments: tuple[str, ...], search: str, identity: tuple[int, ...]) -> Probe:
    said = _ask([path, "--version"], search)
    version = _VERSION.search(said)
    if version is None:
        raise NoAnswer(f"{path} --version names no version, it says '{said.strip()[:200]}': install it again")
    return Probe(version.group(), frozenset(_SWITCH.findall(_ask([path, *help_arguments], search))))


def _ask(argv: list[str], search: str) -> str:
    """Run with nothing but a PATH and an empty home: what a program says about itself needs no key. Some say it on
    stderr, and some fill the home."""
    with tempfile.TemporaryDirectory(prefix="fettle-probe-", ignore_cleanup_errors=True) as home:
        try:
            done = subprocess.run(
                argv,
                env={"PATH": search, "HOME": home},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NoAnswer(f"'{' '.join(argv)}' fails ({error}): install it again") from error
    return (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")


def _is_native(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False

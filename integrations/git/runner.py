"""The one way git is started: an environment built from nothing, our configuration over everybody's, bounded in time
and output.

Nothing of the worker's environment, of a system or user configuration, of a credential helper or of a template is seen
by git. A command names the transports it may use; every other one is refused by git itself. A token is read by an
askpass program from a file that only the worker's user can read and that is gone when the command has ended: it is
never an argument, part of a URL, configuration or an environment variable.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from domain import errors
from integrations.git import launch

_CONFIG: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "credential.helper=",
    "http.followRedirects=false",  # a redirect would be answered with the token
    "transfer.fsckObjects=true",
    "transfer.bundleURI=false",
    "protocol.allow=never",
    "gc.auto=0",  # run clones borrow the mirror's objects; `Mirror.fetch` packs at a known time
    "maintenance.auto=false",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "submodule.recurse=false",
    "commit.gpgSign=false",
    "push.gpgSign=false",
    "safe.bareRepository=all",
)
_ASKPASS: Final = """#!/bin/sh
case "$1" in
Username*) sed -n 1p "$FETTLE_GIT_CREDENTIALS" ;;
Password*) sed -n 2p "$FETTLE_GIT_CREDENTIALS" ;;
esac
"""
_TEMPORARY: Final = ".in-use-"
LEFT_BEHIND_SECONDS: Final = 2 * 3600
"""Longer than any use of a temporary file: one of this age was left by a worker, or a git, that was killed."""


@dataclass(frozen=True)
class Credentials:
    """User and token for git over HTTP."""

    username: str
    token: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, token=…)"


@dataclass(frozen=True)
class Place:
    """Where a command works. `work_tree` and `index` are for the few that touch files."""

    git_dir: Path
    work_tree: Path | None = None
    index: Path | None = None


@dataclass(frozen=True)
class Result:
    """How a command ended. `stderr` is redacted and bounded."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output without its last line end; undecodable bytes are replaced."""
        return self.stdout.decode("utf-8", "replace").rstrip("\n")


@dataclass(frozen=True)
class Runner:
    """Starts git.

    Args:
        scratch: A directory of ours alone: holds an empty home, the askpass program, and credentials while in use.
        environment: Added for every command, for hosts that need a proxy or their own certificates
            (`https_proxy`, `SSL_CERT_FILE`). Never a place for secrets.
        timeout_seconds: For a command that names no other limit.
    """

    scratch: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 300

    def sweep(self) -> None:
        """Remove what killed workers left in `scratch`; called when a worker starts."""
        oldest = time.time() - LEFT_BEHIND_SECONDS
        for path in self.scratch.glob(f"*{_TEMPORARY}*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def folder(self, purpose: str) -> Iterator[Path]:
        """A temporary directory of ours in `scratch`."""
        with tempfile.TemporaryDirectory(prefix=f"{purpose}{_TEMPORARY}", dir=self.scratch) as path:
            yield Path(path)

    async def run(
        self,
        *args: str,
        at: Place | None = None,
        stdin: bytes = b"",
        config: tuple[str, ...] = (),
        protocols: tuple[str, ...] = (),
        credentials: Credentials | None = None,
        timeout_seconds: float | None = None,
        most_output: int = 64 * 1024 * 1024,
        check: bool = True,
    ) -> Result:
        """Run one git command in its own process group, which is gone when this returns or raises.

        Args:
            args: The subcommand and its arguments. Names from outside stand behind `--end-of-options`.
            at: The repository; None for commands that need none.
            config: Further `key=value`, over ours.
            protocols: Transports this command may use.
            timeout_seconds: None for the runner's own limit.
            most_output: Bytes of standard output that are still taken.
            check: Raise when git ends with another code than 0.

        Raises:
            GitFailed: the command failed, took too long or printed too much.
        """
        seconds = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        options = [piece for setting in (*_CONFIG, *config) for piece in ("-c", setting)]
        with self._home(credentials) as home:
            env = self._env(at, protocols, home)
            ended = await launch.run(("git", *options, *args), env, stdin, seconds, most_output, cwd=home.path)
        result = Result(ended.code, ended.stdout, readable(ended.stderr, credentials))
        if check and result.code != 0:
            raise failed(args[0], result)
        return result

    def _env(self, at: Place | None, protocols: tuple[str, ...], home: "_Home") -> dict[str, str]:
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            **self.environment,
            "HOME": str(home.path),
            "XDG_CONFIG_HOME": str(home.path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_ALLOW_PROTOCOL": ":".join(protocols),
            "GIT_SSH_COMMAND": "false",
            "GIT_EDITOR": "false",
            "GIT_ASKPASS": str(home.askpass) if home.askpass else "false",
        }
        if home.credentials:
            env["FETTLE_GIT_CREDENTIALS"] = str(home.credentials)
        if at is not None:
            env["GIT_DIR"] = str(at.git_dir)
            if at.work_tree is not None:
                env["GIT_WORK_TREE"] = str(at.work_tree)
            if at.index is not None:
                env["GIT_INDEX_FILE"] = str(at.index)
        return env

    @contextmanager
    def _home(self, credentials: Credentials | None) -> Iterator["_Home"]:
        empty = self.scratch / "home"
        empty.mkdir(mode=0o700, parents=True, exist_ok=True)
        if credentials is None:
            yield _Home(empty)
            return
        fd, name = tempfile.mkstemp(prefix=f"credentials{_TEMPORARY}", dir=self.scratch)  # made with mode 0600
        try:
            with os.fdopen(fd, "w") as file:
                file.write(f"{credentials.username}\n{credentials.token}\n")
            yield _Home(empty, self._askpass(), Path(name))
        finally:
            os.unlink(name)

    def _askpass(self) -> Path:
        program = self.scratch / "askpass"
        if not program.exists():
            fd, name = tempfile.mkstemp(dir=self.scratch)
            with os.fdopen(fd, "w") as file:
                file.write(_ASKPASS)
            os.chmod(name, 0o700)
            os.replace(name, program)
        return program


@dataclass(frozen=True)
class _Home:
    path: Path
    askpass: Path | None = None
    credentials: Path | None = None


def failed(command: str, result: Result) -> errors.GitFailed:
    return errors.GitFailed(
        f"git {command} failed with code {result.code}, it says: {result.stderr or 'nothing'}; "
        "the same step is tried again, look at the repository and the host when that does not help"
    )


def readable(stderr: bytes, credentials: Credentials | None = None, most: int = 400) -> str:
    """The last words of git on one line, without control characters, user info in URLs, or the token."""
    text = stderr.decode("utf-8", "replace")
    if credentials is not None and credentials.token:
        text = text.replace(credentials.token, "…")
    text = re.sub(r"//[^/@\s]*@", "//…@", text)
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
    return " / ".join(line for line in lines[-6:] if line and not line.startswith("hint:"))[-most:]

"""The `fettle` command as its own process, and proof that nothing of it is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sandbox import proc
from workers import connection

_SHOWING: Final = frozenset({"COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS", "TERMINAL_WIDTH"})
"""Variables by which a CI service or a person has output coloured, or as wide as they like."""


def environment(**more: str) -> dict[str, str]:
    """This process's environment without anybody's settings for Fettle, Temporal or their terminal."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("FETTLE_", "TEMPORAL_")) and k not in _SHOWING}
    return {**mine, "TEMPORAL_CONFIG_FILE": os.devnull, **more}


def git_environment() -> dict[str, str]:
    """This process's environment for a git that heeds nobody's configuration, and no repository around a hook."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return {**mine, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}


def fettle(
    *arguments: str, seconds: float = 100, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=environment(**more),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


class Up:
    """One `fettle up`; `end` leaves nothing running, whatever the test did to it."""

    def __init__(self, state: Path, *options: str, **more: str) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--state", str(state), "--ports", "auto", "--json", *options],
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> dict[str, Any]:
        """What it prints when everything is ready."""
        assert self.process.stdout
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                found: dict[str, Any] = json.loads("".join(lines))
                return found
        assert self.process.stderr
        raise AssertionError(f"it ended before it was ready:\n{self.process.stderr.read()}")

    def identities(self) -> dict[str, proc.Identity]:
        return identities(self.state)

    def end(self) -> None:
        left = self.identities()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.communicate(timeout=50)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.communicate()
        assert within(5, lambda: not any(map(proc.is_alive, left.values()))), f"{left} outlived their supervisor"


def identities(state: Path) -> dict[str, proc.Identity]:
    """The processes that an installation says it is made of."""
    up = connection.read_up(state) or {"processes": {}}
    return {name: proc.Identity(pid, up["started"][name]) for name, pid in up["processes"].items()}


def mentioning(text: str) -> list[str]:
    """Command lines of living processes in which `text` occurs: strays of an installation name its directory."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found


def within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

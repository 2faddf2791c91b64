"""The pinned agent CLIs in their cache, each installed into a folder of its own by `make test-agents`.

With `FETTLE_AGENT_CLIS` set (the cache's folder) a CLI that is missing fails the test; without, the test is skipped in
so many words.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VARIABLE = "FETTLE_AGENT_CLIS"


@dataclass(frozen=True)
class Cli:
    program: str
    version: str
    target: str = "test-agents"
    """Of the Makefile: it installs this one."""

    def __str__(self) -> str:
        return f"{self.program}-{self.version}"

    @property
    def place(self) -> Path:
        """Where the program's name is to be found, as in a PATH, whether it is installed or not."""
        given = os.environ.get(VARIABLE)
        return Path(given or ROOT / ".cache" / "agent-clis", str(self), "node_modules", ".bin").absolute()

    @property
    def installed(self) -> bool:
        return (self.place / self.program).exists()

    def folder(self) -> Path:
        """`place`. Skips or fails the test when the program is not installed."""
        if self.installed:
            return self.place
        said = f"{self} is not installed in {self.place}: run `make {self.target}`, it installs the pinned agent CLIs"
        if os.environ.get(VARIABLE):
            pytest.fail(said)
        pytest.skip(said)


CLAUDE_OLD = Cli("claude", "2.1.197")
CLAUDE_NEW = Cli("claude", "2.1.328")
CODEX = Cli("codex", "0.169.0")
CLAUDES = (CLAUDE_OLD, CLAUDE_NEW)

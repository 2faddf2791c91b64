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

    def folder(self) -> Path:
        """Where the program's name is found, as in a PATH. Skips or fails the test when it is not installed."""
        given = os.environ.get(VARIABLE)
        folder = Path(given or ROOT / ".cache" / "agent-clis", str(self), "node_modules", ".bin").absolute()
        if (folder / self.program).exists():
            return folder
        said = f"{self} is not installed in {folder}: run `make {self.target}`, it installs the pinned agent CLIs"
        if given:
            pytest.fail(said)
        pytest.skip(said)


CLAUDE_OLD = Cli("claude", "2.1.197")
CLAUDE_NEW = Cli("claude", "2.1.328")
CODEX = Cli("codex", "0.169.0")
CLAUDES = (CLAUDE_OLD, CLAUDE_NEW)

"""Where an agent's processes live on this host, and what confines every one of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from domain import errors
from integrations.agent import port
from integrations.git import names
from sandbox import environment, limits, process


@dataclass(frozen=True)
class Room:
    """The directories of a run's agent: its home and its temporary files, next to nobody else's."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path, run: str) -> "Room":
        return cls(state_dir / "agents" / names.run_slug(run))

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    def prepare(self) -> None:
        for folder in (self.root, self.home, self.tmp):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


@dataclass(frozen=True)
class Confinement:
    """What every process of an agent on this host is confined by."""

    host_environment: Mapping[str, str] = field(repr=False)  # a repr in a log must not print it
    rlimits: limits.ProcessLimits = field(default_factory=limits.ProcessLimits)

    def spec(
        self, command: port.Command, room: Room, cwd: Path, passed: tuple[str, ...], grace_seconds: float = 5.0
    ) -> process.Spec:
        """Raises ConfigurationError when the backend's settings ask for a variable that no agent may have."""
        env = environment.build(
            home=room.home, tmp=room.tmp, host=self.host_environment, passed=passed, fixed=command.env
        )
        return process.Spec(
            argv=command.argv,
            env=env,
            cwd=cwd,
            stdin=command.stdin,
            stderr=room.root / "stderr.log",
            rlimits=self.rlimits,
            grace_seconds=grace_seconds,
        )


def contained(state_dir: Path, worktree: str) -> Path:
    """The worktree's real path, below the state directory.

    Raises:
        ConfigurationError: it is elsewhere, or no directory: an agent must not be let loose on it.
    """
    state, path = state_dir.resolve(), Path(worktree).resolve()
    if not os.path.isabs(worktree) or not path.is_relative_to(state) or path == state or not path.is_dir():
        raise errors.ConfigurationError(
            f"the turn is to run in '{worktree}', the worktrees of this host are below {state}: "
            "prepare the worktree on this host first"
        )
    return path

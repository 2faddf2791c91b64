"""Where an agent's processes live on this host, and what confines every one of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from domain import errors
from integrations.agent import port
from integrations.git import clones, mirror, names
from sandbox import environment, limits, process
from sandbox import spec as spec_

_OUR_PROGRAMS: Final = Path(port.__file__).resolve().parent
"""What our adapters run themselves: the scripted agent, and the hooks of the others."""


@dataclass(frozen=True)
class Room:
    """The directories of a run's agent: its home and its temporary files, next to nobody else's.

    Args:
        borrowed: Directories that the run's repository reads, such as the mirror's objects.
    """

    root: Path
    borrowed: tuple[Path, ...] = ()

    @classmethod
    def of(cls, state_dir: Path, run: str) -> "Room":
        note = clones.RunClone.of(state_dir, run).read_note()
        borrowed = (mirror.place(state_dir, note.repo) / "objects",) if note else ()
        return cls(state_dir / "agents" / names.run_slug(run), borrowed)

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
    """What every process of an agent, and every command of a repository, is confined by on this host."""

    host_environment: Mapping[str, str] = field(repr=False)  # a repr in a log must not print it
    level: spec_.Level
    rlimits: limits.ProcessLimits = field(default_factory=limits.ProcessLimits)

    def spec(
        self,
        command: port.Command,
        room: Room,
        cwd: Path,
        passed: tuple[str, ...],
        grace_seconds: float = 5.0,
        *,
        network: Path | None = None,
        image: str = "",
    ) -> process.Spec:
        """A process of an agent in its room and its worktree `cwd`.

        Args:
            network: The proxy's socket, for a level with `own_network`. None: no way out.
            image: For the level `container`; empty: the host's default.

        Raises:
            ConfigurationError: the backend's settings ask for a variable that no agent may have.
        """
        env = environment.build(
            home=room.home, tmp=room.tmp, host=self.host_environment, passed=passed, fixed=command.env
        )
        readable = (_OUR_PROGRAMS, *command.reads, *room.borrowed)
        return process.Spec(
            argv=command.argv,
            env=env,
            cwd=cwd,
            stdin=command.stdin,
            stderr=room.root / "stderr.log",
            rlimits=self.rlimits,
            grace_seconds=grace_seconds,
            level=self.level,
            places=spec_.Places(home=room.home, tmp=room.tmp, work=cwd, readable=readable),
            network=network,
            image=image,
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

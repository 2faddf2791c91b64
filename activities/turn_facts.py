"""What is true in a worktree after an interruption, for the agent's eyes: its last commit and its uncommitted files.

git reads configuration, hooks and attributes that the agent could have written, so it runs where the agent runs:
confined, with the agent's environment, and its answer is treated as the agent's own words.
"""

from dataclasses import dataclass
from pathlib import Path

from activities import rooms
from domain import errors
from integrations.agent import port
from sandbox import process

_SECONDS = 20.0
_MOST_BYTES = 16_000
_LAST_COMMIT = ("git", "log", "-1", "--format=%H %s")
_UNCOMMITTED = ("git", "-c", "core.fsmonitor=false", "status", "--short", "--untracked-files=normal")


@dataclass(frozen=True)
class Facts:
    """`known` is False when git did not answer; the other fields are then empty."""

    known: bool = False
    last_commit: str = ""
    uncommitted: str = ""


async def read(confinement: rooms.Confinement, room: rooms.Room, worktree: Path) -> Facts:
    """Never fails: an agent without these facts is told to look for itself."""
    answers = []
    for argv in (_LAST_COMMIT, _UNCOMMITTED):
        spec = confinement.spec(port.Command(argv), room, worktree, (), grace_seconds=1)
        try:
            done = await process.capture(spec, seconds=_SECONDS, most=_MOST_BYTES)
        except errors.AgentUnavailable:
            return Facts()
        if done.status.exit_code != 0:
            return Facts()
        answers.append(done.stdout.decode("utf-8", "replace").strip())
    return Facts(known=True, last_commit=answers[0], uncommitted=answers[1])

"""What is true in a worktree after an interruption, for the agent's eyes: its last commit and its uncommitted files.

git reads configuration, hooks and attributes that the agent could have written, so it runs where the agent runs:
confined, with the agent's environment, and its answer is treated as the agent's own words.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from activities import artifact_store, rooms
from domain import agent, errors
from integrations.agent import port
from sandbox import process

_log = structlog.stdlib.get_logger(__name__)
_SECONDS = 20.0
_MOST_BYTES = 16_000
_CALLS = 20
_CALL_CHARACTERS = 160
_LOG_BYTES = 4 * 1024 * 1024
_TURNS_BACK = 5
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
        except errors.AgentUnavailable as failure:
            _log.warning("an agent is not told what is true in its clone", because=str(failure))
            return Facts()
        if done.status.exit_code != 0:
            why = done.stderr.decode("utf-8", "replace")[-300:]
            _log.warning(
                "an agent is not told what is true in its clone", git=argv[1], ended=str(done.status), said=why
            )
            return Facts()
        answers.append(done.stdout.decode("utf-8", "replace").rstrip())
    return Facts(known=True, last_commit=answers[0], uncommitted=answers[1])


async def last_calls(
    store: artifact_store.ArtifactStore, backend: port.AgentBackend, request: agent.TurnRequest
) -> tuple[str, ...]:
    """What the run's agent did last, by the log of this turn or of one shortly before it; empty when none is known."""
    for turn in range(request.round, max(0, request.round - _TURNS_BACK), -1):
        end = await _end_of(store, artifact_store.turn_key(request.run, turn))
        events = [event for line in end.splitlines() for event in backend.parse(line)]
        if calls := [event.text[:_CALL_CHARACTERS] for event in events if event.kind is agent.EventKind.TOOL]:
            return tuple(calls[-_CALLS:])
    return ()


async def _end_of(store: artifact_store.ArtifactStore, key: str) -> bytes:
    """About the last megabytes of a log."""
    before, at = b"", 0
    with suppress(FileNotFoundError):
        while chunk := await store.read(key, offset=at, most=_LOG_BYTES):
            at += len(chunk)
            if len(chunk) < _LOG_BYTES:
                return before + chunk
            before = chunk
    return before

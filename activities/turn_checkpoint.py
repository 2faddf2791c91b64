"""Checkpoints of a turn: the conversation's archive, the work in progress, and a note that says that both belong
together.

The conversation is read first and the files after it, so that the agent never remembers an edit that is missing; an
edit that it does not remember is told to it when it resumes. The note is written last, and by the holder of the run
only: another host that finds it finds everything it names. So an archive never takes another one's name, and the one
before goes only when the note names the new one: a host that dies between the two leaves the old note whole.
"""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from activities import artifact_store, turn_sessions, turn_wip
from domain import agent, artifacts, errors
from integrations.agent import port

_MOST_NOTE_BYTES: Final = 256 * 1024
_log = structlog.stdlib.get_logger(__name__)


class Note(BaseModel):
    """The newest checkpoint of a run."""

    model_config = ConfigDict(extra="ignore")

    host: str
    turn: int
    asked_id: str = ""
    """The session's id as the workflow asked for it; a CLI that names its sessions itself has another one."""
    progress: agent.Progress
    finished: bool = False
    """The turn was at its end."""
    at: datetime

    def is_of(self, session: agent.Session) -> bool:
        own = self.progress.session
        return own.backend == session.backend and session.id in {own.id, self.asked_id}


@dataclass(frozen=True)
class Checkpoints:
    """Makes and finds the checkpoints of this host's runs.

    Args:
        host: Id of this host.
        work: Pushes work in progress; None: only conversations are kept.
    """

    store: artifact_store.ArtifactStore
    host: str
    work: turn_wip.WorkInProgress | None = None
    limits: turn_sessions.Limits = turn_sessions.DEFAULT

    async def find(self, run: str, session: agent.Session) -> Note | None:
        """The newest checkpoint of this conversation, when another host made it."""
        note = await self._read(run)
        return note if note and note.host != self.host and note.is_of(session) else None

    async def restore(self, run: str, session: agent.Session, home: Path, cwd: Path) -> bool:
        """Unpack a conversation into the run's home, from the session's archive or, where a newer one has replaced
        that, from the newest. False when neither can be had; the reason is in the log."""
        if session.archive is not None and await self._unpack(session.archive, home, cwd, session.cwd):
            return True
        note = await self._read(run)
        newest = note.progress.session if note and note.is_of(session) else session
        if newest.archive is None or newest.archive == session.archive:
            return False
        return await self._unpack(newest.archive, home, cwd, newest.cwd)

    async def _unpack(self, archive: artifacts.ArtifactRef, home: Path, cwd: Path, packed_cwd: str) -> bool:
        try:
            data = await self.store.read(archive.key)
            if archive.sha256 and _sha256(data) != archive.sha256:
                _log.warning("a conversation's archive is not the one that was kept", key=archive.key)
                return False
            await asyncio.to_thread(
                turn_sessions.unpack, data, home, cwd=cwd, packed_cwd=packed_cwd, limits=self.limits
            )
        except (OSError, errors.UnsafeWork) as lost:
            _log.warning("a conversation could not be restored", key=archive.key, because=str(lost))
            return False
        return True

    async def write(self, run: str, note: Note) -> None:
        await self.store.put(_note_key(run), note.model_dump_json().encode(), "newest checkpoint")

    async def put_archive(self, run: str, turn: int, data: bytes, summary: str) -> artifacts.ArtifactRef:
        """Store a conversation beside those of the turn that are there."""
        name = f"{self._archives(turn)}{_sha256(data)[:16]}.tar.gz"
        return await self.store.put(artifact_store.run_key(run, name), data, summary)

    async def drop_archives(self, run: str, turn: int, keep: artifacts.ArtifactRef) -> None:
        """Remove this host's archives of the turn but one, those too that a killed worker had no time to name."""
        own = artifact_store.run_key(run, self._archives(turn))
        for key in await asyncio.to_thread(self.store.keys, own.rpartition("/")[0]):
            if key.startswith(own) and key != keep.key:
                await self.store.delete(key)

    def _archives(self, turn: int) -> str:
        """What the names of this host's archives of a turn begin with."""
        return f"session-turn-{turn}/{self.host}@"

    async def overtaken(self, run: str, turn: int, since: datetime) -> bool:
        """Whether another host has made a checkpoint of a later turn. One from before `since`, when the turn was asked
        for, is of a run that has ended: the same issue's next one counts its turns from 1 again."""
        note = await self._read(run)
        return note is not None and note.host != self.host and note.turn > turn and note.at > since

    async def _read(self, run: str) -> Note | None:
        with suppress(FileNotFoundError, ValidationError):
            return Note.model_validate_json(await self.store.read(_note_key(run), most=_MOST_NOTE_BYTES))
        return None


class Keeper:
    """The checkpoints of one turn on this host.

    Args:
        since: When the turn was asked for.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        backend: port.AgentBackend,
        request: agent.TurnRequest,
        home: Path,
        cwd: Path,
        since: datetime,
    ) -> None:
        self._checkpoints = checkpoints
        self._since = since
        self._backend = backend
        self._request = request
        self.run = request.run
        self._home = home
        self._cwd = cwd
        self._signature = ""
        self._written: Note | None = None
        self._one_at_a_time = asyncio.Lock()

    async def keep(self, progress: agent.Progress, *, finished: bool, seconds: float) -> turn_wip.Kept:
        """Keep conversation and work as they are now; `progress` then names both. Where neither has changed nothing is
        written or pushed.

        Args:
            finished: The turn is at its end.
            seconds: What the push of the work may take; without it the conversation alone is kept.

        Raises:
            LeaseLost: another host has taken the run over; nothing was kept.
        """
        async with self._one_at_a_time:
            return await self._keep(progress, finished=finished, seconds=seconds)

    async def has_news(self, session: agent.Session) -> bool:
        """Whether the conversation has changed since it was kept."""
        found = await asyncio.to_thread(self._signature_of, session)
        return bool(found) and found != self._signature

    async def _keep(self, progress: agent.Progress, *, finished: bool, seconds: float) -> turn_wip.Kept:
        run, turn = self.run, self._request.round
        session = progress.session
        packed = await asyncio.to_thread(self._packed, session)
        kept = turn_wip.Kept()
        if self._checkpoints.work is not None:
            kept = await self._checkpoints.work.save(run, turn, seconds=seconds)
        if await self._checkpoints.overtaken(run, turn, self._since):
            raise errors.LeaseLost(
                f"turn {turn} of {run} is this host's, another host is at a later one: nothing is kept of it"
            )
        if progress.session.id != session.id:  # the CLI has named it meanwhile, or it was begun anew
            return kept
        archive = session.archive
        if packed is not None:
            archive = await self._checkpoints.put_archive(run, turn, packed[1], f"{session.backend} conversation")
        found = {"archive": archive, "cwd": str(self._cwd), "config_dir": str(self._backend.config_dir(self._home))}
        progress.session = session.model_copy(update=found)
        progress.wip_sha = kept.sha
        await self._write(progress.model_copy(), finished)
        if packed is not None and archive is not None:
            self._signature = packed[0]
            await self._checkpoints.drop_archives(run, turn, archive)
        return kept

    async def _write(self, progress: agent.Progress, finished: bool) -> None:
        """Write the note, if it tells anything that the last one does not."""
        note = Note(
            host=self._checkpoints.host,
            turn=self._request.round,
            asked_id=self._request.session.id,
            progress=progress,
            finished=finished,
            at=datetime.now(UTC),
        )
        known = self._written
        if known is not None:
            untold = {"log_offset": known.progress.log_offset, "last_commit": known.progress.last_commit}
            same = {"at": known.at, "progress": progress.model_copy(update=untold)}
            if note.model_copy(update=same) == known:
                return
        await self._checkpoints.write(self.run, note)
        self._written = note

    def _signature_of(self, session: agent.Session) -> str:
        return turn_sessions.signature(self._home, self._backend.session_files(self._home, session))

    def _packed(self, session: agent.Session) -> tuple[str, bytes] | None:
        """The archive, when the conversation has changed since the last one. Blocking."""
        files = self._backend.session_files(self._home, session)
        signature = turn_sessions.signature(self._home, files)
        if not signature or signature == self._signature:
            return None
        try:
            return signature, turn_sessions.pack(self._home, files, self._checkpoints.limits)
        except (errors.UnsafeWork, ValueError) as refused:
            _log.warning("a conversation is not kept", run=self._request.run, because=str(refused))
            return None


def _note_key(run: str) -> str:
    return artifact_store.run_key(run, "checkpoint.json")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

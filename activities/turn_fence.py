"""One process a session on this host: what a lost attempt left running is ended before the next one starts.

The CLIs do not lock a session; two processes on one lose half of its history. The lock is the kernel's (flock), so it
goes with its holder, kill -9 included; the record beside it names the launcher by pid, start time and boot, so that it
can be found by a successor and never be mistaken for another process.
"""

import asyncio
import fcntl
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from domain import agent, errors
from sandbox import proc

_WAIT_SECONDS: Final = 25.0
_SWEEP_SECONDS: Final = 12.0
"""What a launcher may take after the grace; killing it earlier would leave the orphans it has not found yet."""
_POLL_SECONDS: Final = 0.1
COUNTS: Final = ("input_tokens", "cached_tokens", "output_tokens")
"""The fields of a `Usage`."""


class Record(BaseModel):
    """What this host knows of a session; it outlives the worker and a restart of the activity."""

    model_config = ConfigDict(extra="ignore")

    round: int = 0
    """The turn that the fields below are about."""
    launched: bool = False
    finished: bool = False
    cost_before_round: float | None = None
    cost: float | None = None
    """Total of the session as far as it is known, USD."""
    usage_before_round: agent.Usage | None = None
    usage: agent.Usage | None = None
    holder: str = ""
    """Activity id and attempt, for people."""
    known_as: str = ""
    """The CLI's own id of the session, where it does not take the one that was asked for."""
    boot: str = ""
    processes: tuple[tuple[int, int], ...] = ()
    """Launcher and program of the newest process: pid and start time."""


class Fence:
    """The right to run processes of one session, while the context that `hold` opens lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._locks: dict[Path, int] = {}
        self.record = Record()

    async def take(self, session: agent.Session, grace_seconds: float) -> None:
        lock = self._locks[self._path] = _open_lock(self._path)
        await _take(lock, self._path, session, grace_seconds)
        self.record = _read(self._path)

    def let_go(self) -> None:
        while self._locks:
            os.close(self._locks.popitem()[1])

    def begin_round(self, number: int, holder: str) -> bool:
        """Returns whether the session was left in the middle: of this round by another attempt, or of an older one."""
        record = self.record
        again = record.launched and (record.round == number or not record.finished)
        if record.round != number:
            record.round, record.launched = number, False
            record.cost_before_round, record.usage_before_round = record.cost, record.usage
        record.finished = False
        record.holder = holder
        return again

    def launched(self, *processes: proc.Identity | None) -> None:
        """Name the processes that a successor must end."""
        self.record.launched = True
        self.record.boot = proc.boot_id()
        self.record.processes = tuple((each.pid, each.started) for each in processes if each is not None)
        self.save()

    @property
    def is_new(self) -> bool:
        """Whether this host has run nothing of the session yet."""
        return not self.record.round

    def begin_anew(self) -> None:
        """The turn goes on in another conversation, whose CLI counts from nothing: totals are a conversation's. What
        the turn has spent in the old one stays the turn's, as a number below nothing that it began at."""
        record = self.record
        if record.cost is not None:
            record.cost_before_round = (record.cost_before_round or 0.0) - record.cost
        if record.usage is not None:
            before = record.usage_before_round or agent.Usage()
            record.usage_before_round = agent.Usage(
                **{name: (getattr(before, name) or 0) - (getattr(record.usage, name) or 0) for name in COUNTS}
            )
        record.cost = record.usage = None

    def adopt(self, progress: agent.Progress) -> None:
        """Go on counting where another host was."""
        self.record.cost, self.record.usage = progress.cost_usd, progress.usage

    def also_known_as(self, session: agent.Session) -> None:
        """The CLI has given the session a name of its own: who asks for that one waits for the same end, and finds the
        same record.

        Raises:
            AgentCrashed: another attempt holds the session under that name.
        """
        other = self._path.with_name(f"{_name(session)}.json")
        if not session.id or other in self._locks:
            return
        lock = _open_lock(other)
        if not _lock(lock):
            os.close(lock)
            raise errors.AgentCrashed(
                f"session {session.id} of {session.backend} is driven by {_read(other).holder or 'another attempt'} "
                f"and was given to {self.record.holder} as well: this one ends, the next turn resumes the session"
            )
        self._locks[other] = lock
        self.record.known_as = session.id
        self.save()

    def save(self) -> None:
        """Under every name that the session has."""
        for path in self._locks:
            fresh = path.with_suffix(".new")
            fresh.write_text(self.record.model_dump_json(), encoding="utf-8")
            fresh.replace(path)


@asynccontextmanager
async def hold(
    state_dir: Path, session: agent.Session, grace_seconds: float, places: Sequence[Path] = ()
) -> AsyncIterator[Fence]:
    """Take the session over: wait for its holder to let go, ending what it runs, and then for that to be gone; and end
    whatever else still works in the run's own `places`.

    Raises:
        AgentCrashed: another process still holds the session after all of that.
    """
    folder = state_dir / "sessions"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fence = Fence(folder / f"{_name(session)}.json")
    try:
        await fence.take(session, grace_seconds)
        await sweep(*places)
        yield fence
        # Reached only when the turn's processes were awaited: nothing is left to end.
        fence.record.processes = ()
        fence.save()
    finally:
        fence.let_go()


def _name(session: agent.Session) -> str:
    return hashlib.sha256(f"{session.backend}:{session.id}".encode()).hexdigest()[:32]


async def sweep(*places: Path) -> None:
    """End what still works in a run's own directories although nobody of ours runs it: a launcher that was killed took
    the list of its orphans with it.

    Raises:
        AgentCrashed: something cannot be ended.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    while left := await asyncio.to_thread(proc.working_in, *(place.resolve() for place in places)):
        if clock() - began > _SWEEP_SECONDS:
            pids, where = ", ".join(str(each.pid) for each in left), ", ".join(map(str, places))
            raise errors.AgentCrashed(
                f"processes {pids} still work in {where} after {_SWEEP_SECONDS:.0f} s of being killed: no other one is "
                "started there; look for stuck processes on this host"
            )
        for each in left:
            proc.send(each, signal.SIGKILL)
        await asyncio.sleep(_POLL_SECONDS)


async def _take(lock: int, path: Path, session: agent.Session, grace_seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    asked: set[proc.Identity] = set()
    while True:
        # An attempt of this very worker may hold the lock (it was given up by the server, not by us); its process is
        # ended all the same, and it then lets go. Without a holder this ends what a killed worker left behind.
        remaining = _living(path)
        for process in set(remaining) - asked:
            proc.send(process, signal.SIGTERM)  # the launcher's order to stop, sweep and end
            asked.add(process)
        waited = clock() - began
        if waited > grace_seconds + _SWEEP_SECONDS:
            for process in remaining:
                proc.send(process, signal.SIGKILL)
        if not remaining and _lock(lock):
            if not _living(path):
                return
            fcntl.flock(lock, fcntl.LOCK_UN)  # the holder started a process between our look and its end
        if waited > _WAIT_SECONDS:
            raise errors.AgentCrashed(
                f"session {session.id} of {session.backend} is still held by {_read(path).holder or 'another attempt'} "
                f"after {_WAIT_SECONDS:.0f} s: the turn is not started twice; look for stuck processes on this host"
            )
        await asyncio.sleep(_POLL_SECONDS)


def _open_lock(path: Path) -> int:
    return os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _living(path: Path) -> list[proc.Identity]:
    record = _read(path)
    if not record.boot or record.boot != proc.boot_id():
        return []
    return [
        each for each in (proc.Identity(*pair) for pair in record.processes) if each.pid > 1 and proc.is_alive(each)
    ]


def _read(path: Path) -> Record:
    with suppress(OSError, ValidationError):
        return Record.model_validate_json(path.read_bytes())
    return Record()

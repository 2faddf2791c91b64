"""One process of a turn: from a backend's command to its verdict, watched for silence, time and the worker's end."""

import asyncio
import collections
import heapq
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from activities import turn_watch
from domain import agent, errors
from integrations.agent import port
from sandbox import process

_EVENTS_KEPT: Final = 2000
"""Of what only its newest counts: words, calls, and their answers."""
_COUNTED_KEPT: Final = 20_000
"""Of what a verdict adds up or looks for in all of the process: more steps than a turn has time for."""
_COUNTED: Final = frozenset({agent.EventKind.SESSION, agent.EventKind.COST, agent.EventKind.RESULT})
_TEXT_KEPT: Final = 8000
_ANSWER_KEPT: Final = 200_000
"""Of the newest words: they may be the answer, which is checked against its schema as a whole."""
_STDERR_KEPT: Final = 16_000


class WorkerStopping(Exception):
    """The worker shuts down; the turn was stopped and can be continued."""


class Log(Protocol):
    """Where the raw output goes."""

    def write(self, data: bytes) -> None: ...


@dataclass(frozen=True)
class Ended:
    """What a process left: enough for the backend's verdict, bounded."""

    events: tuple[agent.Event, ...]
    status: process.Status
    stderr: str


class _Kept:
    """The events of a process, in their order and bounded."""

    def __init__(self) -> None:
        self._seen = 0
        self._newest: collections.deque[tuple[int, agent.Event]] = collections.deque(maxlen=_EVENTS_KEPT)
        self._counted: collections.deque[tuple[int, agent.Event]] = collections.deque(maxlen=_COUNTED_KEPT)
        self._words: tuple[int, agent.Event] | None = None

    def add(self, whole: agent.Event) -> agent.Event:
        """Keep an event; what is kept of it."""
        self._seen += 1
        event = _cut(whole, _TEXT_KEPT)
        if event.kind is agent.EventKind.TEXT:
            self._words = (self._seen, _cut(whole, _ANSWER_KEPT))
        counted = event.kind in _COUNTED or event.denials
        (self._counted if counted else self._newest).append((self._seen, event))
        return event

    def all(self) -> tuple[agent.Event, ...]:
        """Everything that was kept, in its order."""
        number, words = self._words or (0, None)
        merged = heapq.merge(self._newest, self._counted, key=lambda each: each[0])
        return tuple(words if words is not None and place == number else event for place, event in merged)


def _cut(event: agent.Event, limit: int) -> agent.Event:
    return event if len(event.text) <= limit else event.model_copy(update={"text": event.text[:limit]})


class Supervisor:
    """Runs one process to its end. However `run` ends, no process is left when it has."""

    def __init__(
        self,
        spec: process.Spec,
        backend: port.AgentBackend,
        bounds: agent.Limits,
        *,
        log: Log,
        on_start: Callable[[process.ConfinedProcess], None],
        on_event: Callable[[agent.Event], None],
    ) -> None:
        self._spec = spec
        self._backend = backend
        self._bounds = bounds
        self._log = log
        self._on_start = on_start
        self._on_event = on_event
        self._events = _Kept()
        self._watcher: turn_watch.Watcher | None = None

    @property
    def calls(self) -> tuple[str, ...]:
        """The calls whose answers are due, in the CLI's words."""
        return self._watcher.vigil.calls if self._watcher else ()

    async def run(self, stopping: "asyncio.Future[None]", given_up: "asyncio.Future[errors.AgentError]") -> Ended:
        """Start, watch, and wait for the end.

        Args:
            stopping: Done when the process must end now, because the worker does.
            given_up: Done with the reason when the process must end now for another one.

        Raises:
            AgentUnavailable: the program cannot be started.
            AgentStalled: no first line in time, neither output nor work for the silence limit, or stopped.
            AgentTimedOut: the total limit has passed.
            WorkerStopping: `stopping` was done first.
            AgentError: what `given_up` was done with.
        """
        assert self._spec.stderr is not None
        with suppress(FileNotFoundError):
            self._spec.stderr.unlink()
        running = await process.ConfinedProcess.start(self._spec)
        watcher = self._watcher = turn_watch.Watcher(
            running.launcher, self._bounds, usage=running.usage, complained=self._stderr_size
        )
        reading = asyncio.create_task(self._read(running, watcher))
        try:
            self._on_start(running)
            watcher.start()
            await self._ended(reading, watcher, stopping, given_up)
        except BaseException:
            await process.uncancelled(self._stop(running, reading))
            raise
        finally:
            await process.uncancelled(watcher.end())
        status = await running.close(0)
        return Ended(self._events.all(), status, self.stderr())

    def stderr(self) -> str:
        """The end of what the process complained about."""
        assert self._spec.stderr is not None
        return process.tail(self._spec.stderr, _STDERR_KEPT).decode("utf-8", "replace")

    def _stderr_size(self) -> int:
        assert self._spec.stderr is not None
        with suppress(OSError):
            return self._spec.stderr.stat().st_size
        return 0

    async def _read(self, running: process.ConfinedProcess, watcher: turn_watch.Watcher) -> None:
        async for line in running.lines(self._log.write):
            watcher.heard()
            for event in self._backend.parse(line):
                kept = self._events.add(event)
                watcher.vigil.saw(kept)
                self._on_event(kept)
        await running.wait()

    async def _ended(
        self,
        reading: "asyncio.Task[None]",
        watcher: turn_watch.Watcher,
        stopping: "asyncio.Future[None]",
        given_up: "asyncio.Future[errors.AgentError]",
    ) -> None:
        signs: set[asyncio.Future[Any]] = {reading, watcher.found, stopping, given_up}
        await asyncio.wait(signs, return_when=asyncio.FIRST_COMPLETED)
        watcher.taken()
        if reading.done():
            return reading.result()
        if given_up.done():
            raise given_up.result()
        if watcher.found.done():
            raise watcher.found.result()
        raise WorkerStopping

    async def _stop(self, running: process.ConfinedProcess, reading: "asyncio.Task[None]") -> None:
        """Read on while it stops: its last lines say what it had done."""
        if running.launcher is not None:
            turn_watch.wake(running.launcher)
        await running.stop(self._bounds.stop_grace_seconds)
        # With every process gone the output has an end, so this is short; it is bounded in case of the unforeseen.
        await asyncio.wait({reading}, timeout=2)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await running.close(0)


def exit_code_of(status: process.Status) -> int | None:
    """The code a shell would give, None for a process that was killed: 143 is a program that ended itself on TERM."""
    if status.exit_code is None and status.signal == signal.SIGTERM:
        return 128 + signal.SIGTERM
    return status.exit_code

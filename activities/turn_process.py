"""One process of a turn: from a backend's command to its verdict, watched for silence, time and the worker's end."""

import asyncio
import collections
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from domain import agent, errors
from integrations.agent import port
from sandbox import proc, process

_EVENTS_KEPT: Final = 2000
_TEXT_KEPT: Final = 8000
_STDERR_KEPT: Final = 16_000
_BUSY_SHARE: Final = 0.05
"""A process tree that uses less of one CPU only turns its timers; 5 % is a compiler on a starved host."""
_BUSY_BYTES: Final = 256 * 1024
"""Read and written between two looks. Below that it may be a keep-alive."""


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
        self._events: collections.deque[agent.Event] = collections.deque(maxlen=_EVENTS_KEPT)
        self._clock = asyncio.get_running_loop().time
        self._last_sign = self._clock()

    async def run(self, stopping: "asyncio.Future[None]") -> Ended:
        """Start, watch, and wait for the end.

        Args:
            stopping: Done when the worker begins to shut down.

        Raises:
            AgentUnavailable: the program cannot be started.
            AgentStalled: neither output nor work for the silence limit.
            AgentTimedOut: the total limit has passed.
            WorkerStopping: `stopping` was done first.
        """
        assert self._spec.stderr is not None
        with suppress(FileNotFoundError):
            self._spec.stderr.unlink()
        running = await process.ConfinedProcess.start(self._spec)
        reading = asyncio.create_task(self._read(running))
        try:
            self._on_start(running)
            await self._watch(running, reading, stopping)
        except BaseException:
            await process.uncancelled(self._stop(running, reading))
            raise
        status = await running.close(0)
        return Ended(tuple(self._events), status, self.stderr())

    def stderr(self) -> str:
        """The end of what the process complained about."""
        assert self._spec.stderr is not None
        return process.tail(self._spec.stderr, _STDERR_KEPT).decode("utf-8", "replace")

    def _stderr_size(self) -> int:
        assert self._spec.stderr is not None
        with suppress(OSError):
            return self._spec.stderr.stat().st_size
        return 0

    async def _read(self, running: process.ConfinedProcess) -> None:
        async for line in running.lines(self._log.write):
            self._last_sign = self._clock()
            for event in self._backend.parse(line):
                kept = event.model_copy(update={"text": event.text[:_TEXT_KEPT]})
                self._events.append(kept)
                self._on_event(kept)
        await running.wait()

    async def _watch(
        self, running: process.ConfinedProcess, reading: "asyncio.Task[None]", stopping: "asyncio.Future[None]"
    ) -> None:
        started = looked = self._clock()
        used, complained = running.usage(), self._stderr_size()
        tick = min(max(self._bounds.silence_seconds / 4, 0.1), 5.0)
        while True:
            left = max(0.0, started + self._bounds.total_seconds - self._clock())
            await asyncio.wait({reading, stopping}, timeout=min(tick, left), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            if stopping.done():
                raise WorkerStopping
            now, usage, said = self._clock(), running.usage(), self._stderr_size()
            if said != complained or _worked(used, usage, now - looked):
                self._last_sign = now
            used, looked, complained = usage, now, said
            if now - started >= self._bounds.total_seconds:
                raise errors.AgentTimedOut(
                    f"the turn has taken {now - started:.0f} s, its limit is {self._bounds.total_seconds:.0f} s: "
                    "it was stopped and can be resumed; raise turn_seconds in the policy if the task needs longer"
                )
            if now - self._last_sign >= self._bounds.silence_seconds:
                raise errors.AgentStalled(
                    f"the agent printed nothing and did no work for {now - self._last_sign:.0f} s, its limit is "
                    f"{self._bounds.silence_seconds:.0f} s: it was stopped and can be resumed"
                )

    async def _stop(self, running: process.ConfinedProcess, reading: "asyncio.Task[None]") -> None:
        """Read on while it stops: its last lines say what it had done."""
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


def _worked(before: proc.Usage, after: proc.Usage, seconds: float) -> bool:
    cpu = after.cpu_seconds - before.cpu_seconds
    return cpu >= max(_BUSY_SHARE * seconds, 0.02) or after.io_bytes - before.io_bytes >= _BUSY_BYTES

"""Whether an agent is alive, judged from outside of the event loop: its output, its work, its calls, its processes.

A thread looks at /proc, so a worker whose loop is blocked still finds a lost agent. What it finds is told to the loop;
when the loop does not take it, the thread asks the launcher itself to end everything.
"""

import asyncio
import enum
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from domain import agent, errors
from sandbox import proc

STOPPED_SECONDS: Final = 30.0
"""How long a stopped program may stay stopped: longer than a checkpoint of its host, well below a minute."""
_BUSY_SHARE: Final = 0.05
"""A process tree that uses less of one CPU only turns its timers; 5 % is a compiler on a starved host."""
_BUSY_BYTES: Final = 256 * 1024
"""Read and written between two looks. Below that it may be a keep-alive."""
_LOOK_SECONDS: Final = 5.0
_TAKEN_WITHIN_SECONDS: Final = 15.0
"""What the event loop gets to act on a finding before the thread acts without it."""


class Lost(enum.Enum):
    """Why a turn cannot go on."""

    NEVER_SPOKE = "never spoke"
    STOPPED = "stopped"
    SILENT = "silent"
    OUT_OF_TIME = "out of time"


@dataclass(frozen=True)
class Reading:
    """What /proc and the error output say at one moment."""

    used: proc.Usage
    stopped: bool = False
    complained: int = 0
    """Bytes of error output so far."""


class Vigil:
    """The rules, over a clock that the caller reads. Signs may come from another thread than looks."""

    def __init__(self, bounds: agent.Limits, now: float, first: Reading) -> None:
        self._bounds = bounds
        self._began = self._last_sign = self._looked = now
        self._last = first
        self._running_since = now
        self._spoke = False
        self._calls: dict[str, str] = {}

    @property
    def calls(self) -> tuple[str, ...]:
        """The calls that are in flight, the oldest first, in the CLI's words."""
        return tuple(self._calls.values())

    def spoke(self, now: float) -> None:
        """A line of output came."""
        self._spoke = True
        self._last_sign = now

    def saw(self, event: agent.Event) -> None:
        """Keep the calls that are in flight."""
        if event.kind is agent.EventKind.TOOL and event.tool_id:
            self._calls[event.tool_id] = event.text
        elif event.kind is agent.EventKind.TOOL_RESULT:
            self._calls.pop(event.tool_id, None)
        elif event.kind is agent.EventKind.RESULT:
            self._calls.clear()

    def look(self, now: float, reading: Reading) -> Lost | None:
        """Judge one reading; None when the agent may go on."""
        worked = reading.complained != self._last.complained or _worked(
            self._last.used, reading.used, now - self._looked
        )
        self._last, self._looked = reading, now
        if not reading.stopped:
            self._running_since = now
        if worked or (self._calls and not reading.stopped):
            self._last_sign = max(self._last_sign, now)
        if now - self._began >= self._bounds.total_seconds:
            return Lost.OUT_OF_TIME
        if not self._spoke and now - self._began >= self._bounds.start_seconds:
            return Lost.NEVER_SPOKE
        idle = now - max(self._running_since, self._last_sign)
        if reading.stopped and idle >= min(STOPPED_SECONDS, self._bounds.silence_seconds):
            return Lost.STOPPED
        return Lost.SILENT if now - self._last_sign >= self._bounds.silence_seconds else None

    def error(self, lost: Lost, now: float) -> errors.AgentError:
        """The finding in words."""
        bounds, again = self._bounds, "it was stopped and can be resumed"
        match lost:
            case Lost.OUT_OF_TIME:
                return errors.AgentTimedOut(
                    f"the turn has taken {now - self._began:.0f} s, its limit is {bounds.total_seconds:.0f} s: "
                    f"{again}; raise turn_seconds in the policy if the task needs longer"
                )
            case Lost.NEVER_SPOKE:
                return errors.AgentStalled(
                    f"the agent has printed nothing since its start {now - self._began:.0f} s ago, its limit is "
                    f"{bounds.start_seconds:.0f} s: {again}; look at the CLI on this host if it happens again"
                )
            case Lost.STOPPED:
                return errors.AgentStalled(
                    f"the agent's process has been stopped (SIGSTOP) for {now - self._running_since:.0f} s and nobody "
                    f"lets it go on, its limit is {min(STOPPED_SECONDS, bounds.silence_seconds):.0f} s: {again}"
                )
            case Lost.SILENT:
                return errors.AgentStalled(
                    f"the agent printed nothing and did no work for {now - self._last_sign:.0f} s, its limit is "
                    f"{bounds.silence_seconds:.0f} s: {again}"
                )


class Watcher:
    """The thread. `found` is done with the error when the agent is lost; it is never done otherwise."""

    def __init__(
        self,
        launcher: proc.Identity | None,
        bounds: agent.Limits,
        *,
        usage: Callable[[], proc.Usage],
        complained: Callable[[], int],
    ) -> None:
        self._launcher = launcher
        self._usage = usage
        self._complained = complained
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        self._taken = threading.Event()
        self._tick = min(max(min(bounds.silence_seconds, bounds.start_seconds) / 4, 0.1), _LOOK_SECONDS)
        self.found: asyncio.Future[errors.AgentError] = self._loop.create_future()
        self.vigil = Vigil(bounds, time.monotonic(), self._read())
        self._deadline = time.monotonic() + bounds.total_seconds
        self._thread = threading.Thread(target=self._watch, name="turn-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def heard(self) -> None:
        """A line of output came."""
        self.vigil.spoke(time.monotonic())

    def taken(self) -> None:
        """The loop acts on the finding."""
        self._taken.set()

    async def end(self) -> None:
        """Stop looking; returns when the thread has ended."""
        self._ended.set()
        self._taken.set()
        await asyncio.to_thread(self._thread.join)
        if not self.found.done():
            self.found.cancel()

    def _watch(self) -> None:
        while not self._ended.wait(max(0.0, min(self._tick, self._deadline - time.monotonic()))):
            now = time.monotonic()
            lost = self.vigil.look(now, self._read())
            if lost is not None:
                self._tell(self.vigil.error(lost, now))
                return

    def _tell(self, error: errors.AgentError) -> None:
        def tell() -> None:
            if not self.found.done():
                self.found.set_result(error)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the loop is closed: nobody else can end the agent
            self._taken.clear()
        if not self._taken.wait(_TAKEN_WITHIN_SECONDS) and self._launcher is not None:
            wake(self._launcher)
            proc.send(self._launcher, signal.SIGTERM)

    def _read(self) -> Reading:
        stopped = self._launcher is not None and proc.stopped_under(self._launcher.pid) is not None
        return Reading(self._usage(), stopped, self._complained())


def wake(launcher: proc.Identity) -> None:
    """Let a stopped launcher go on: it is the one that ends the others."""
    proc.send(launcher, signal.SIGCONT)


def _worked(before: proc.Usage, after: proc.Usage, seconds: float) -> bool:
    cpu = after.cpu_seconds - before.cpu_seconds
    return cpu >= max(_BUSY_SHARE * seconds, 0.02) or after.io_bytes - before.io_bytes >= _BUSY_BYTES

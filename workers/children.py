"""One child process of `fettle up`: started, watched until it is ready, restarted when it dies, stopped with grace."""

import asyncio
import enum
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from domain import errors
from sandbox import proc
from workers import tether

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 10.0
STEADY_SECONDS: Final = 30.0
"""A child that lived this long has recovered: its next restart is prompt again."""
START_ATTEMPTS: Final = 3
_LOG_BYTES: Final = 20_000_000
_MAX_LINE: Final = 65_536
_LAST_WORDS_SECONDS: Final = 1.0
"""How long what an ended child has written may take to arrive. What it started may live on and keep its output open."""


class StartFailed(errors.FettleError):
    """A child did not become ready. `log` is where its output is."""

    def __init__(self, message: str, *, name: str, log: Path) -> None:
        super().__init__(message)
        self.name = name
        self.log = log


class State(enum.StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Spec:
    """What to run. Without a `probe` the child says that it is ready by a line of JSON on its stdout, {"ready": true},
    with a `but` when there is something that it cannot do; a probe returns when the child serves, and may bring it into
    a usable state first: it runs after each start."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] | None = None
    probe: Callable[[], Awaitable[None]] | None = None
    url: str = ""
    grace_seconds: float = 10
    ready_seconds: float = 60


class Child:
    """The life of one child. `changed` is called after every change of its state or pid."""

    def __init__(self, spec: Spec, logs: Path, changed: Callable[["Child"], None]) -> None:
        self.spec = spec
        self.log = logs / f"{spec.name}.log"
        self.state = State.WAITING
        self.note = ""
        self.restarts = 0
        self.identity: proc.Identity | None = None
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._stop = asyncio.Event()
        self._said_ready = asyncio.Event()
        self._reservation = ""
        """What it cannot do, ready as it is, in its own words."""
        self._settled = asyncio.Event()
        """It was ready once, or never will be."""
        self._failure: StartFailed | None = None
        self._life: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the child's life; it goes on until `stop`."""
        self._life = asyncio.create_task(self._live())

    async def ready(self) -> None:
        """Return when the child was ready for the first time.

        Raises:
            StartFailed: it ended too often, or was not ready in time.
        """
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Ask it to end, wait for its grace time, then kill its process group. Returns when it is gone."""
        self._stop.set()
        process = self._process
        if process is not None and process.returncode is None:
            self._become(State.STOPPING)
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(self.spec.grace_seconds):
                    await process.wait()
            except TimeoutError:
                self.kill()
                await process.wait()
        if self._life is not None:
            await asyncio.gather(self._life, return_exceptions=True)

    def kill(self) -> None:
        """End its whole process group at once."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _live(self) -> None:
        delay, failed = FIRST_DELAY, 0
        while not self._stop.is_set():
            began = time.monotonic()
            why = await self._one_life()
            if self._stop.is_set():
                break
            failed += 1
            if not self._settled.is_set() and failed >= START_ATTEMPTS:
                self._fail(f"{self.spec.name} {why}, {failed} times before it was ready")
                break
            if time.monotonic() - began > STEADY_SECONDS:
                delay = FIRST_DELAY
            self.restarts += 1
            self._become(State.RESTARTING, f"{why}; restart in {delay:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stop.wait()
            delay = min(delay * 2, LONGEST_DELAY)
        self.identity = None
        self._become(State.STOPPED)

    async def _one_life(self) -> str:
        """Run the program to its end; says in words how it ended."""
        self._said_ready.clear()
        self._reservation = ""
        with self._open_log() as log:
            try:
                process, output = await self._spawn(log)
            except OSError as error:
                return f"could not be started ({error.strerror})"
            self._process, self.identity = process, proc.identity(process.pid)
            self._become(State.STARTING)
            if self._stop.is_set():  # asked to stop while it was being started
                self.kill()
            waiting = asyncio.create_task(self._await_ready())
            relaying = asyncio.create_task(self._relay(output, log))
            try:
                await process.wait()
                await asyncio.wait([relaying], timeout=_LAST_WORDS_SECONDS)
            finally:
                for task in (waiting, relaying):
                    task.cancel()
                await asyncio.gather(waiting, relaying, return_exceptions=True)
                output.close()
        code = process.returncode
        return f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with code {code}"

    async def _spawn(self, log: IO[bytes]) -> tuple[asyncio.subprocess.Process, "_Output"]:
        argv = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(signal.SIGKILL)))
        output, end = await _Output.opened()
        try:
            process = await asyncio.create_subprocess_exec(
                *(*argv, *self.spec.argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=end,
                stderr=log,
                env=self.spec.environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which stops the rest in order
            )
        except BaseException:
            output.close()
            raise
        finally:
            os.close(end)
        return process, output

    async def _relay(self, output: "_Output", log: IO[bytes]) -> None:
        """Copy stdout to the log, and look for the line that says ready."""
        rest = b""
        while data := await output.reader.read(_MAX_LINE):
            log.write(data)
            log.flush()
            if self._said_ready.is_set():
                continue
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_MAX_LINE:]
            for said in filter(None, map(_readiness, lines)):
                self._reservation = str(said.get("but", ""))
                self._said_ready.set()

    async def _await_ready(self) -> None:
        try:
            async with asyncio.timeout(self.spec.ready_seconds):
                await (self.spec.probe() if self.spec.probe else self._said_ready.wait())
        except TimeoutError:
            self._fail(f"{self.spec.name} was not ready after {self.spec.ready_seconds:g} s")
        except Exception as refused:  # whatever a probe raises, the child is of no use, and that has to be said
            self._fail(f"{self.spec.name} was started and cannot be used: {refused}")
        else:
            self._become(State.READY, self._reservation)
            self._settled.set()

    def _fail(self, sentence: str) -> None:
        self.note = sentence
        if self._settled.is_set():
            self.kill()  # it hangs in a later life: another start may help
            return
        last = _last_line(self.log)
        said = f'; its last words: "{last}"' if last else ""
        self._failure = StartFailed(f"{sentence}{said}: see {self.log}", name=self.spec.name, log=self.log)
        self._settled.set()

    def _become(self, state: State, note: str = "") -> None:
        self.state, self.note = state, note
        self._changed(self)

    def _open_log(self) -> IO[bytes]:
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_BYTES:
                self.log.replace(self.log.with_suffix(".log.1"))
        return open(self.log, "ab")


@dataclass(frozen=True)
class _Output:
    """A pipe of our own: asyncio waits for the end of its pipes before it tells that a process has ended, and a process
    that the child left behind keeps them open."""

    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport

    @classmethod
    async def opened(cls) -> tuple["_Output", int]:
        """The pipe, and the descriptor that the child writes to; the caller closes that one."""
        reader = asyncio.StreamReader()
        end, write = os.pipe()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(end, "rb", buffering=0)
        )
        return cls(reader, transport), write

    def close(self) -> None:
        """Nothing more is read."""
        self.transport.close()


def _readiness(line: bytes) -> dict[str, Any] | None:
    """The line that says ready; None for every other line."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("ready") is True else None


def _last_line(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

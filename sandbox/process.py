"""A confined process as the worker sees it: its output line by line, its signs of life, and an end that is final."""

import asyncio
import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from domain import errors
from sandbox import proc
from sandbox import spec as spec_

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_CHUNK: Final = 64 * 1024
_PIPE_BYTES: Final = 1024 * 1024
"""Claude Code 2.1.197 ends before a full pipe is drained, and what it had not written is lost: its result among it."""
_LONGEST_LINE: Final = 64 * 1024 * 1024
"""A line is handed on whole up to here; the rest of it reaches the log only. Bounds memory, not the protocol: edits
echo whole files, and lines above 1 MB are ordinary."""
_SWEEP_SECONDS: Final = 12.0
"""How long the launcher may take after the grace to end every orphan, before the worker does it itself."""
_AFTER_SECONDS: Final = 10.0

T = TypeVar("T")


Spec = spec_.Spec


class Status(BaseModel):
    """How a confined process ended."""

    model_config = ConfigDict(extra="ignore")

    exit_code: int | None = None
    signal: int | None = None
    swept: int = 0
    """Processes that had outlived the program and were killed."""
    left: int = 0
    """Processes that could not be killed (uninterruptible sleep): none, on a healthy host."""
    stopped: bool = False
    """The end was asked for, or the worker had died."""
    exceeded: str = ""
    """What a limit has ended, the program or a process of it, as a sentence; empty when all kept to them."""


@dataclass(frozen=True)
class Completed:
    """A process that was run to its end. The outputs are bounded and hold whatever was printed last."""

    status: Status
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


class ConfinedProcess:
    """One program under the launcher. Made by `start`; `close` must be awaited before it is forgotten."""

    def __init__(
        self,
        launcher: asyncio.subprocess.Process,
        control: asyncio.WriteTransport,
        status: asyncio.StreamReader,
        output: "_Output",
    ) -> None:
        self._launcher = launcher
        self._control = control
        self._status = status
        self._output = output
        self._meter = proc.Meter(launcher.pid)
        self._launch: spec_.Launch | None = None
        self._end: asyncio.Task[Status] | None = None
        self.launcher = proc.identity(launcher.pid)
        """Who to stop if this worker is gone and its successor finds the process: TERM asks it to clean up."""
        self.program: proc.Identity | None = None

    @classmethod
    async def start(cls, spec: Spec) -> "ConfinedProcess":
        """Start the program; a cancellation while it starts leaves nothing running.

        Raises:
            AgentUnavailable: the program or its directory does not exist, or cannot be executed; or its level does not
                work on this host, and then nothing was started.
        """
        launch = await asyncio.to_thread(spec.level.plan if spec.level else spec_.plain, spec)
        spawn = asyncio.ensure_future(_spawn_launcher(spec))
        try:
            # Shielded: asyncio forgets a child whose creation is cancelled between its fork and its result.
            process = await asyncio.shield(spawn)
        except asyncio.CancelledError:
            await uncancelled(_undo(spawn))
            raise
        try:
            process._launch = launch
            process._control.write(spec_.message(launch, spec))
            await process._await_start(spec)
        except BaseException:
            await uncancelled(process.close(0))
            raise
        return process

    async def lines(self, tee: Callable[[bytes], object] | None = None) -> AsyncIterator[bytes]:
        """Every line of the output without its end, and what follows the last end of line, as they come.

        Args:
            tee: Gets the raw bytes before any line of them is handed on.
        """
        pending = bytearray()
        while chunk := await self._output.reader.read(_CHUNK):
            if tee is not None:
                tee(chunk)
            *ended, rest = chunk.split(b"\n")
            for piece in ended:
                yield bytes(_bounded(pending, piece))
                pending.clear()
            _bounded(pending, rest)
        if pending:
            yield bytes(pending)

    async def wait(self) -> Status:
        """Wait until the program has ended and nothing that it started is left. Safe to call from several tasks.

        Read `lines` meanwhile: a program that fills its pipe waits for its reader.
        """
        if self._end is None:
            self._end = asyncio.create_task(self._collect())
        return await asyncio.shield(self._end)

    async def stop(self, grace_seconds: float = 5.0) -> Status:
        """TERM to the program's group, KILL after `grace_seconds`, then every orphan. When this returns, nothing of
        it lives. Stopping what has ended returns its status."""
        self._control.write(f"stop {grace_seconds}\n".encode())
        try:
            async with asyncio.timeout(grace_seconds + _SWEEP_SECONDS):
                return await self.wait()
        except TimeoutError:
            await self._kill_tree()
            return await self.wait()

    async def close(self, grace_seconds: float = 5.0) -> Status:
        """`stop`, and give back the pipes: what was not read of the output is lost."""
        try:
            return await self.stop(grace_seconds)
        finally:
            self._output.transport.close()

    def usage(self) -> proc.Usage:
        """CPU time and bytes read and written by the program and all it started, up to now."""
        return self._meter.read()

    def pids(self) -> list[int]:
        """The living processes of the program, at this moment."""
        self._meter.read()  # remembered, for the day the launcher is killed
        return [each.pid for each in self._meter.known() if proc.is_alive(each)]

    async def _await_start(self, spec: Spec) -> None:
        answer = await self._status.readline()
        facts = json.loads(answer) if answer else {"error": "the launcher ended before it had started anything"}
        if "started" not in facts:
            raise errors.AgentUnavailable(
                f"{spec.argv[0]} was to be started in {spec.cwd}, the system says: {facts.get('error')}; "
                "check that the program is installed on this host and that the directory exists"
            )
        self.program = proc.identity(int(facts["started"]))
        self._meter.read()

    async def _collect(self) -> Status:
        last = b""
        while line := await self._status.readline():
            last = line
        await self._launcher.wait()
        self._control.close()
        facts = json.loads(last) if last.endswith(b"\n") else {}
        if "swept" in facts or "error" in facts:
            return Status.model_validate(facts)
        # The launcher was killed. The kernel has killed the program with it, the others are known from readings.
        await asyncio.to_thread(_put_away, self._launch)
        return Status(signal=signal.SIGKILL, swept=sum(proc.send(each, signal.SIGKILL) for each in self._meter.known()))

    async def _kill_tree(self) -> None:
        for _ in range(10):
            self._meter.read()
            for each in proc.tree(self._launcher.pid):
                proc.send(each, signal.SIGKILL)
            await asyncio.sleep(0.05)
        with suppress(ProcessLookupError):
            self._launcher.kill()


async def capture(spec: Spec, *, seconds: float, most: int = 4 * 1024 * 1024) -> Completed:
    """Run a program to its end, confined, and keep the last `most` bytes of each output.

    A run that takes longer than `seconds` is stopped; the result then says `timed_out`.

    Raises:
        AgentUnavailable: it could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="fettle-") as folder:
        stderr = spec.stderr or Path(folder, "stderr")
        process = await ConfinedProcess.start(dataclasses.replace(spec, stderr=stderr))
        kept = bytearray()

        def keep(chunk: bytes) -> None:
            kept.extend(chunk)
            del kept[:-most]

        async def read() -> Status:
            async for _ in process.lines(keep):
                pass
            return await process.wait()

        timed_out = False
        try:
            async with asyncio.timeout(seconds):
                status = await read()
        except TimeoutError:
            timed_out = True
            status = await uncancelled(process.close(spec.grace_seconds))
        except BaseException:
            await uncancelled(process.close(spec.grace_seconds))
            raise
        return Completed(status, bytes(kept), tail(stderr, most), timed_out)


def tail(path: Path, most: int) -> bytes:
    """The last `most` bytes of a file; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most))
            return file.read(most)
    except OSError:
        return b""


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even if the caller is cancelled meanwhile; the cancellation is raised after it."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as stop:
            cancelled = stop
    if cancelled is not None:
        raise cancelled
    return task.result()


class _Output(NamedTuple):
    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport


async def _spawn_launcher(spec: Spec) -> ConfinedProcess:
    """Start the launcher with its pipes. They are made here, not by asyncio: whether its `wait` returns before all
    of its own pipes are read to the end depends on the Python version."""
    theirs: list[int] = []
    ours: list[int] = []
    try:
        for reading in (True, False, True):  # status, control, output
            read, write = os.pipe()
            ours.append(read if reading else write)
            theirs.append(write if reading else read)
        status, control, output = theirs
        with suppress(OSError):  # a user's pipes may be limited
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        with tempfile.TemporaryFile() as stdin, _open_stderr(spec.stderr) as stderr:
            stdin.write(spec.stdin)
            stdin.seek(0)
            launcher = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_LAUNCHER), str(control), str(status)),
                stdin=stdin,
                stdout=output,
                stderr=stderr,
                env={},
                cwd="/",
                pass_fds=(control, status),
                start_new_session=True,  # Ctrl-C in the worker's terminal is the worker's to act on
            )
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    loop = asyncio.get_running_loop()
    status_reader = await _reader(loop, ours[0])
    control_writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(ours[1], "wb", buffering=0))
    output_reader = await _reader(loop, ours[2])
    return ConfinedProcess(launcher, control_writer, status_reader.reader, output_reader)


def _put_away(launch: spec_.Launch | None) -> None:
    """The launch's last command, which its launcher could not run."""
    if launch is not None and launch.after:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(launch.after, env=launch.env, capture_output=True, timeout=_AFTER_SECONDS, check=False)


async def _undo(spawn: "asyncio.Future[ConfinedProcess]") -> None:
    with suppress(OSError):
        await (await spawn).close(0)


async def _reader(loop: asyncio.AbstractEventLoop, fd: int) -> _Output:
    reader = asyncio.StreamReader(limit=_CHUNK)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    return _Output(reader, transport)


def _open_stderr(path: Path | None) -> BinaryIO:
    """Opened for the process, which writes there itself; readable by the worker's user alone."""
    return open(path or os.devnull, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


def _bounded(line: bytearray, piece: bytes) -> bytearray:
    """Append what still fits into the longest line that is kept in memory."""
    line += piece[: max(0, _LONGEST_LINE - len(line))]
    return line

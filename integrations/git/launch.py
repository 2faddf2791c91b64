"""One command in a process group of its own, bounded in time and output; nothing of it lives when it was awaited."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domain import errors

_MOST_STDERR: Final = 64 * 1024
_CHUNK: Final = 64 * 1024


class OutputTooLarge(errors.GitFailed):
    """git printed more than the caller was ready to read. Callers that read an agent's work make it `UnsafeWork`."""

    @classmethod
    def wire_type(cls) -> str:
        return errors.GitFailed.wire_type()


class TimedOut(errors.GitFailed):
    """git was stopped; what it was about to change may have changed."""

    @classmethod
    def wire_type(cls) -> str:
        return errors.GitFailed.wire_type()


@dataclass(frozen=True)
class Ended:
    """How a command ended; of its error output the last part is kept."""

    code: int
    stdout: bytes
    stderr: bytes


async def run(
    argv: tuple[str, ...], env: Mapping[str, str], stdin: bytes, seconds: float, most_output: int, *, cwd: Path
) -> Ended:
    """Run git to its end, however it ends; it may use `seconds`, and print `most_output` bytes.

    Raises:
        TimedOut: it was still running then.
        OutputTooLarge: it printed more.
    """
    process = await _spawn(argv, env, cwd)
    assert process.stdout is not None  # for the type checker: all three are pipes
    assert process.stderr is not None
    try:
        async with asyncio.timeout(seconds):
            _, out, err = await asyncio.gather(
                _feed(process, stdin), _read(process.stdout, most_output), _read_end(process.stderr)
            )
            return Ended(await process.wait(), out, err)
    except TimeoutError:
        raise TimedOut(
            f"git {_subcommand(argv)} was stopped after its limit of {seconds:g} s, without an answer; "
            "the same step is tried again, look at the network and the size of the repository when that does not help"
        ) from None
    finally:
        await _end(process)


async def _spawn(argv: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> asyncio.subprocess.Process:
    """Start git. A cancellation waits until it has started: asyncio would kill git alone, and then wait for the ends of
    pipes that git's own children hold."""
    spawning = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,  # one group to end: git starts transports and packers of its own
        )
    )
    try:
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        while not spawning.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({spawning})
        if spawning.exception() is None:
            await _end(spawning.result())
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the whole group and collect git, also when this task is cancelled meanwhile."""
    killed = process.returncode is None
    if killed:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # `wait` may wait for the end of every pipe, and one that is no longer read never comes to it. asyncio offers no
    # other way to close them than its own transport.
    process._transport.close()  # type: ignore[attr-defined]  # see the line above
    if killed:
        await asyncio.shield(process.wait())


async def _feed(process: asyncio.subprocess.Process, stdin: bytes) -> None:
    assert process.stdin is not None  # for the type checker: it is a pipe
    with suppress(BrokenPipeError, ConnectionResetError):  # git ended early; its code says why
        process.stdin.write(stdin)
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    taken = bytearray()
    while chunk := await stream.read(_CHUNK):
        taken += chunk
        if len(taken) > most:
            raise OutputTooLarge(
                f"git printed more than {most} bytes, which is all that this step reads; "
                "the work is too large to be handled in one piece"
            )
    return bytes(taken)


async def _read_end(stream: asyncio.StreamReader) -> bytes:
    taken = bytearray()
    while chunk := await stream.read(_CHUNK):
        taken += chunk
        del taken[:-_MOST_STDERR]
    return bytes(taken)


def _subcommand(argv: tuple[str, ...]) -> str:
    skip = False
    for word in argv[1:]:
        if skip:
            skip = False
        elif word == "-c":
            skip = True
        else:
            return word
    return "git"

"""An installation that one command needs: started for it as `fettle up`, and ended with it, or found running."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli import failures
from sandbox import proc
from workers import connection, tether

READY_SECONDS: Final = 90.0
STOP_SECONDS: Final = 60.0
"""More than the longest grace of a child, so that killing `fettle up` is the exception."""
_POLL_SECONDS: Final = 0.1
_LAST_SECONDS: Final = 5.0
_KEPT_VARIABLES: Final = frozenset(
    {"FETTLE_TEMPORAL_CLI", "FETTLE_CLAUDE_CREDENTIALS_FILE", "FETTLE_CLAUDE_SANDBOXED", "FETTLE_LOG_LEVEL"}
    | {"FETTLE_SANDBOX", "FETTLE_SANDBOX_USER", "FETTLE_SANDBOX_IMAGE", "FETTLE_SANDBOX_ENGINE"}
    | {"FETTLE_SANDBOX_READ_ONLY", "FETTLE_SANDBOX_MEMORY_MEBIBYTES"}
)
"""What is about this machine, and not about one installation on it."""


@dataclass(frozen=True)
class Installation:
    """A running `fettle up`, as its `up.json` describes it. `ours`: it was started for this command."""

    state: Path
    pid: int
    temporal_address: str
    temporal_ui: str
    web_url: str
    forge_url: str
    ours: bool


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without anything that configures another installation, and with `settings`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FETTLE_", "TEMPORAL_")) or name in _KEPT_VARIABLES
    }
    return kept | {"TEMPORAL_CONFIG_FILE": os.devnull, **settings}


def isolate(environment: Mapping[str, str]) -> None:
    """Make `environment` this process's own, so that a command which works on an installation of its own reads no
    setting that belongs to another one."""
    os.environ.clear()
    os.environ.update(environment)


def running(state: Path) -> Installation | None:
    """The installation with a forge of its own that works on `state` now and is ready; None when there is none."""
    up = connection.read_up(state) or {}
    if (
        not up.get("ready")
        or "devforge" not in up.get("processes", {})
        or not isinstance(up.get("pid"), int)
        or proc.identity(up["pid"]) is None
    ):
        return None
    return _installation(state, up, ours=False)


@asynccontextmanager
async def started(
    state: Path, environment: Mapping[str, str], *, keep: bool, told: Callable[[dict[str, Any]], None]
) -> AsyncIterator[Installation]:
    """Start `fettle up` on `state`, and stop it at the end of the context unless `keep`.

    Args:
        state: the state directory.
        environment: the whole environment of the installation.
        keep: leave it running, unless this command is interrupted; it then survives the end of this process.
        told: called with the content of `up.json` while the parts start.

    Raises:
        failures.Failed: it did not start; the sentence is its own.
    """
    (state / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    log = state / "logs" / "up.log"
    process = _spawn(state, environment, log, keep=keep)
    try:
        made = await _ready(process, state, log, told)
    except BaseException:
        await asyncio.shield(_end(process, state))
        raise
    interrupted = False
    try:
        yield made
    except asyncio.CancelledError:
        interrupted = True
        raise
    finally:
        if interrupted or not keep:
            await asyncio.shield(_end(process, state))


async def _end(process: subprocess.Popen[bytes], state: Path) -> None:
    """Stop it, and see by pid that nothing of it is left.

    Raises:
        failures.Failed: something is; the message names it.
    """
    up = connection.read_up(state) or {}
    started = up.get("started", {})
    known = {n: proc.Identity(pid, started[n]) for n, pid in up.get("processes", {}).items() if n in started}
    await stop(process)
    left = [f"{name} (process {i.pid})" for name, i in known.items() if proc.is_alive(i) and not _ends(i)]
    if left:
        raise failures.Failed(f"{', '.join(left)} of {state} still runs after everything was stopped: end it with kill")


def _ends(identity: proc.Identity) -> bool:
    """Whether a process that the kernel was told to end is gone in a moment."""
    deadline = time.monotonic() + _LAST_SECONDS
    while proc.is_alive(identity) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return not proc.is_alive(identity)


async def stop(process: subprocess.Popen[bytes]) -> None:
    """End `fettle up` and everything it started, within its own bounds or by force."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.to_thread(process.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its children are tethered to it: the kernel ends them too
        await asyncio.to_thread(process.wait)


def _spawn(state: Path, environment: Mapping[str, str], log: Path, *, keep: bool) -> subprocess.Popen[bytes]:
    """Not a process of asyncio's: that kills what still runs when its loop closes, and `keep` must not."""
    argv = [sys.executable, "-m", "cli.main", "up", "--state", str(state), "--ports", "auto"]
    if not keep:
        argv = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(signal.SIGTERM)), *argv]
    with open(log, "ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C is for this command, which then stops it
        )


async def _ready(
    process: subprocess.Popen[bytes], state: Path, log: Path, told: Callable[[dict[str, Any]], None]
) -> Installation:
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    while process.poll() is None:
        up = connection.read_up(state) or {}
        if up.get("pid") == process.pid:
            told(up)
            if up.get("ready"):
                return _installation(state, up, ours=True)
        if asyncio.get_running_loop().time() > deadline:
            raise failures.Unreachable(
                f"the installation was not ready after {READY_SECONDS:g} s: see {state / 'logs'}"
            )
        await asyncio.sleep(_POLL_SECONDS)
    raise _explained(process.returncode, log)


def _explained(code: int, log: Path) -> failures.Failed:
    """What `fettle up` said last, with its own exit code."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
    failure = failures.Failed(said or f"the installation ended with code {code} before it was ready: see {log}")
    failure.exit_code = code if code in {failures.FAILED, failures.USAGE, failures.UNREACHABLE} else failures.FAILED
    return failure


def _installation(state: Path, up: Mapping[str, Any], *, ours: bool) -> Installation:
    return Installation(
        state=state,
        pid=up["pid"],
        temporal_address=up["temporal_address"],
        temporal_ui=up["temporal_ui"],
        web_url=up["web_url"],
        forge_url=up["forge_url"],
        ours=ours,
    )

"""Running CI commands: a clean checkout, a minimal environment, one process group, a time-out, and a log file.

Nothing of a run outlives it: its group is killed when it ends. What a killed server left behind is found by the
next one through a note with the run's folder, where the first process wrote who it is.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devforge import clock, database, errors, git, runs, state

LOG_LIMIT = 5_000_000
TAIL = 20_000
# Process id and start time name one process for good; the shell notes both before it becomes the command.
_NOTE_AND_RUN = 'read -r stat </proc/self/stat; echo "$stat" >../process; exec /bin/sh -c "$1"'
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """How a command ended; `code` is None after a time-out or when it could not start."""

    code: int | None
    words: str


async def run_forever(forge: state.Forge) -> None:
    """Run what is queued, at most `ci_slots` at once, until cancelled."""
    _resume(forge)
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            forge.ci_wanted.clear()
            while len(running) < forge.ci_slots and (job := _take(forge)) is not None:
                task = asyncio.create_task(_run(forge, job))
                running.add(task)
                task.add_done_callback(running.discard)
                task.add_done_callback(lambda _: forge.ci_wanted.set())
            await forge.ci_wanted.wait()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _resume(forge: state.Forge) -> None:
    """Put what the last server was running back into the queue, after ending what may still live of it."""
    for note in forge.root.joinpath("spool").glob("ci-*"):
        folder = Path(note.read_text("utf-8"))
        if (leader := _survivor(folder)) is not None:
            _kill(leader)
        shutil.rmtree(folder, ignore_errors=True)
        note.unlink()
    forge.db.run("UPDATE ci_jobs SET state = 'queued' WHERE state = 'running'")


def _take(forge: state.Forge) -> database.Row | None:
    job = forge.db.one("SELECT * FROM ci_jobs WHERE state = 'queued' ORDER BY check_run_id LIMIT 1")
    if job is None:
        return None
    with forge.db.transaction():
        forge.db.run("UPDATE ci_jobs SET state = 'running' WHERE check_run_id = ?", job["check_run_id"])
        forge.db.update("check_runs", job["check_run_id"], status="in_progress", started_at=clock.now())
    return job


async def _run(forge: state.Forge, job: database.Row) -> None:
    log = forge.log_path(job["check_run_id"])
    try:
        ended = await _execute(forge, job, log)
    except (OSError, errors.GitFailed) as problem:
        _LOG.error("CI run %d could not start: %s", job["check_run_id"], problem)
        ended = Ended(None, f"could not start: {problem}")
    _report(forge, job, log, ended)


async def _execute(forge: state.Forge, job: database.Row, log: Path) -> Ended:
    folder = Path(tempfile.mkdtemp(prefix="devforge-ci-"))
    note = forge.root / "spool" / f"ci-{job['check_run_id']}"
    _prepare(folder, note)
    try:
        await checkout(forge.git_dir(job["repo_id"]), job["sha"], folder / "work", folder / "index")
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _NOTE_AND_RUN,
            "sh",
            job["command"],
            cwd=folder / "work",
            env=_environment(folder / "home", job["sha"]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return await _watch(process, job["timeout_seconds"], log)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)


def _prepare(folder: Path, note: Path) -> None:
    note.write_text(str(folder), "utf-8")
    for name in ("work", "home"):
        (folder / name).mkdir()


async def checkout(repository: Path, sha: str, work: Path, index: Path) -> None:
    """Write the files of a commit into a directory; attributes of the commit cannot start filters."""
    extra = {"GIT_INDEX_FILE": str(index)}
    await git.run(repository, "read-tree", sha, extra=extra)
    await git.run(repository, f"--work-tree={work}", "checkout-index", "--all", "--quiet", extra=extra, timeout=120)


def _environment(home: Path, sha: str) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "CI": "true",
        "DEVFORGE_SHA": sha,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


async def _watch(process: asyncio.subprocess.Process, seconds: float, log: Path) -> Ended:
    """Copy output to the log until the command ends or its time is over, then end its whole group."""
    reader = asyncio.create_task(_copy(process, log))
    try:
        code = await asyncio.wait_for(_ended(process), seconds)
        ended = Ended(code, f"exit code {code}")
    except TimeoutError:
        ended = Ended(None, f"no end after {seconds:g} s: killed")
    finally:
        _kill(process.pid)
        await _ended(process)
        try:
            await asyncio.wait_for(reader, 5)
        except TimeoutError:  # something left the group and holds the pipe: the log ends here
            _LOG.warning("a process of a CI run left its group and keeps its output open")
    return ended


async def _ended(process: asyncio.subprocess.Process) -> int:
    """The exit code; asyncio's own wait lasts until nobody has the output open any more."""
    while process.returncode is None:  # noqa: ASYNC110 - it has no event that comes before the end of its pipes
        await asyncio.sleep(0.02)
    return process.returncode


async def _copy(process: asyncio.subprocess.Process, log: Path) -> None:
    stream = process.stdout
    written = 0
    with log.open("wb") as file:
        while stream is not None and (chunk := await stream.read(65_536)):
            part = chunk[: max(0, LOG_LIMIT - written)]
            file.write(part)
            file.flush()
            if part and len(part) < len(chunk):
                file.write(b"\n[the log was cut here]\n")
            written += len(part)


def _report(forge: state.Forge, job: database.Row, log: Path, ended: Ended) -> None:
    tail = read_tail(log).rstrip("\n")
    conclusion = {0: "success", None: "timed_out"}.get(ended.code, "failure")
    if ended.code is None and not ended.words.startswith("no end"):
        conclusion = "failure"
    repo = forge.db.get(
        "SELECT r.*, u.login AS owner FROM repositories r JOIN users u ON u.id = r.owner_id WHERE r.id = ?",
        job["repo_id"],
    )
    with forge.db.transaction():
        forge.db.run("UPDATE ci_jobs SET state = 'done' WHERE check_run_id = ?", job["check_run_id"])
        runs.change(
            forge,
            repo,
            runs.get(forge, job["check_run_id"]),
            status="completed",
            conclusion=conclusion,
            completed_at=clock.now(),
            title=f"{job['name']}: {conclusion}",
            summary=f"`{job['command']}`: {ended.words}",
            text=f"```\n{tail}\n```" if tail else None,
        )


def read_tail(log: Path, limit: int = TAIL) -> str:
    """The last `limit` bytes of a log, without control characters that a page or a terminal would obey."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - limit))
        text = file.read().decode("utf-8", "replace")
    return "".join(char for char in text if char in "\n\t" or ord(char) >= 32)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _survivor(folder: Path) -> int | None:
    """The group of a run that still lives, judged by the note of its first process."""
    try:
        noted = _identity(folder.joinpath("process").read_text("utf-8"))
        present = _identity(Path(f"/proc/{noted[0]}/stat").read_text("utf-8"))
    except (OSError, ValueError, IndexError):
        return None
    return noted[0] if noted == present else None


def _identity(stat: str) -> tuple[int, str]:
    """(process id, start time in the kernel's ticks) of a line of `/proc/PID/stat`."""
    return int(stat.split(" ", 1)[0]), stat.rpartition(")")[2].split()[19]

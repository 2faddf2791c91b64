import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from domain import errors
from sandbox import limits, proc, process

PARENT = """
import asyncio, sys
from pathlib import Path
from sandbox import process

async def main():
    spec = process.Spec(("sh", "-c", sys.argv[1]), {"PATH": "/usr/bin:/bin"}, Path(sys.argv[2]), grace_seconds=1)
    started = await process.ConfinedProcess.start(spec)
    async for line in started.lines():
        print(line.decode(), flush=True)

asyncio.run(main())
"""


def sh(script: str, cwd: Path, **more: object) -> process.Spec:
    env = {"PATH": "/usr/bin:/bin"}
    return process.Spec(("sh", "-c", script), env, cwd, **more)  # type: ignore[arg-type]


def python(script: str, cwd: Path, **more: object) -> process.Spec:
    return process.Spec((sys.executable, "-I", "-S", "-c", script), {}, cwd, **more)  # type: ignore[arg-type]


async def gone(pid: int, seconds: float = 20) -> bool:
    """Waits for another process, which sends no event, to end."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if proc.identity(pid) is None:
            return True
        await asyncio.sleep(0.02)
    return False


async def read_lines(started: process.ConfinedProcess, count: int) -> list[bytes]:
    found: list[bytes] = []
    async for line in started.lines():
        found.append(line)
        if len(found) == count:
            break
    return found


async def test_output_comes_line_by_line_and_the_exit_code_is_kept(tmp_path: Path) -> None:
    raw = bytearray()
    started = await process.ConfinedProcess.start(sh("echo one; echo; printf last; exit 7", tmp_path))
    lines = [line async for line in started.lines(raw.extend)]
    status = await started.wait()
    assert lines == [b"one", b"", b"last"]
    assert bytes(raw) == b"one\n\nlast"
    assert (status.exit_code, status.signal, status.swept, status.stopped) == (7, None, 0, False)


async def test_a_line_of_one_megabyte_arrives_whole(tmp_path: Path) -> None:
    script = "import sys; sys.stdout.write('x' * 1_000_000 + '\\nend\\n')"
    started = await process.ConfinedProcess.start(python(script, tmp_path))
    lines = [line async for line in started.lines()]
    await started.wait()
    assert [len(line) for line in lines] == [1_000_000, 3]


async def test_stdin_is_the_prompt_and_then_ends(tmp_path: Path) -> None:
    prompt = b"p" * 400_000
    done = await process.capture(sh("cat | wc -c; cat | wc -c", tmp_path, stdin=prompt), seconds=10)
    assert done.stdout.split() == [b"400000", b"0"]


async def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    spec = process.Spec(("no-such-agent",), {"PATH": "/usr/bin"}, tmp_path)
    with pytest.raises(errors.AgentUnavailable, match="no-such-agent was to be started"):
        await process.ConfinedProcess.start(spec)


async def test_a_crash_by_signal_is_told_from_an_exit(tmp_path: Path) -> None:
    done = await process.capture(sh("kill -SEGV $$", tmp_path), seconds=10)
    assert (done.status.exit_code, done.status.signal) == (None, signal.SIGSEGV)


async def test_orphans_in_their_own_session_are_swept_after_a_normal_end(tmp_path: Path) -> None:
    script = """setsid sleep 300 >/dev/null 2>&1 & echo $!
    nohup setsid sh -c 'sleep 300 & touch up; wait' >/dev/null 2>&1 &
    while [ ! -e up ]; do sleep 0.02; done"""
    started = await process.ConfinedProcess.start(sh(script, tmp_path))
    lines = [line async for line in started.lines()]
    status = await started.wait()
    assert status.exit_code == 0
    assert status.swept >= 3
    assert status.left == 0
    assert proc.identity(int(lines[0])) is None


async def test_stop_is_quiescent_even_for_a_tree_that_ignores_term(tmp_path: Path) -> None:
    script = """trap '' TERM
    (trap '' TERM; while :; do echo tick >> written; sleep 0.01; done) &
    setsid sh -c 'trap "" TERM; while :; do echo tick >> written; sleep 0.01; done' &
    while [ ! -e written ]; do sleep 0.01; done
    echo ready; wait"""
    started = await process.ConfinedProcess.start(sh(script, tmp_path))
    assert await read_lines(started, 1) == [b"ready"]
    pids = started.pids()
    assert len(pids) >= 3
    status = await started.close(0.3)
    size = (tmp_path / "written").stat().st_size
    assert status.signal == signal.SIGKILL
    assert status.stopped
    assert [pid for pid in pids if proc.identity(pid)] == []
    await asyncio.sleep(0.1)  # a survivor writes every 10 ms
    assert (tmp_path / "written").stat().st_size == size


async def test_a_program_that_obeys_term_is_not_killed(tmp_path: Path) -> None:
    started = await process.ConfinedProcess.start(
        sh("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done", tmp_path)
    )
    assert await read_lines(started, 1) == [b"ready"]
    status = await started.close(20)
    assert (status.exit_code, status.stopped) == (3, True)


async def test_stopping_twice_and_after_the_end_is_harmless(tmp_path: Path) -> None:
    started = await process.ConfinedProcess.start(sh("exit 4", tmp_path))
    first = await started.wait()
    assert await started.stop() == await started.close() == first


async def test_a_worker_killed_with_kill_leaves_no_process(tmp_path: Path) -> None:
    script = "echo $$; setsid sh -c 'trap \"\" TERM; echo $$; sleep 300'"
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, script, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(process.__file__).parents[1],
    )
    assert worker.stdout is not None
    pids = [int(await worker.stdout.readline()) for _ in range(2)]
    worker.kill()
    await worker.wait()
    assert [await gone(pid) for pid in pids] == [True, True]


async def test_a_killed_launcher_takes_the_program_with_it(tmp_path: Path) -> None:
    started = await process.ConfinedProcess.start(sh("setsid sh -c 'echo $$; sleep 300' & sleep 300", tmp_path))
    [own_session] = await read_lines(started, 1)
    pids = started.pids()
    assert int(own_session) in pids
    assert started.launcher is not None
    assert proc.send(started.launcher, signal.SIGKILL)
    status = await started.close()
    assert status.signal == signal.SIGKILL
    assert [await gone(pid) for pid in pids] == [True] * len(pids)


async def test_the_launcher_closes_what_it_inherited_and_shows_no_environment(tmp_path: Path) -> None:
    canary = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(canary, True)
    try:
        script = "ls /proc/self/fd; echo; cat /proc/$PPID/environ; env"
        done = await process.capture(sh(script, tmp_path), seconds=10)
    finally:
        os.close(canary)
    descriptors, rest = done.stdout.split(b"\n\n", 1)
    assert set(descriptors.split()) == {b"0", b"1", b"2", b"3"}  # 3 is the directory that ls reads
    shells = {b"PWD", b"OLDPWD", b"SHLVL", b"_"}  # which of them a shell sets by itself depends on the shell
    assert {line.split(b"=")[0] for line in rest.splitlines()} - shells == {b"PATH"}


async def test_limits_hold_for_the_program(tmp_path: Path) -> None:
    few = limits.ProcessLimits(open_files=64, file_mebibytes=1)
    done = await process.capture(
        sh("ulimit -n; ulimit -c; head -c 2000000 /dev/zero > big", tmp_path, rlimits=few), seconds=10
    )
    assert done.stdout.split() == [b"64", b"0"]
    assert (tmp_path / "big").stat().st_size == 1024 * 1024


async def test_usage_grows_with_work_and_rests_while_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    started = await process.ConfinedProcess.start(sh("echo ready; read x < pipe; while :; do :; done", tmp_path))
    assert await read_lines(started, 1) == [b"ready"]
    resting = started.usage()
    await asyncio.sleep(0.2)
    assert started.usage().cpu_seconds - resting.cpu_seconds < 0.05
    await asyncio.to_thread((tmp_path / "pipe").write_text, "go\n")
    until = time.monotonic() + 20
    while started.usage().cpu_seconds - resting.cpu_seconds < 0.1 and time.monotonic() < until:  # noqa: ASYNC110 - CPU time sends no event
        await asyncio.sleep(0.05)
    assert started.usage().cpu_seconds - resting.cpu_seconds >= 0.1
    await started.close(0)


async def test_a_run_over_its_time_is_stopped_and_says_so(tmp_path: Path) -> None:
    done = await process.capture(sh("echo early; sleep 300", tmp_path, grace_seconds=0.2), seconds=3)
    assert done.timed_out
    assert done.stdout == b"early\n"


async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    task = asyncio.create_task(process.ConfinedProcess.start(sh("echo $$ > pid; sleep 300", tmp_path)))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if (tmp_path / "pid").exists() and (pid := (tmp_path / "pid").read_text()):  # it may be ended before it has written
        assert await gone(int(pid))

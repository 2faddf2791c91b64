"""The level `container` with a real engine: what it starts is seen, stopped, and gone, whoever is killed."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox import container, levels, proc, process
from tests.sandbox import cells, engine

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WORKER = """
import asyncio, os, sys
from pathlib import Path
from sandbox import container, limits, process
from sandbox import spec as spec_

async def main():
    home, tmp, work = map(Path, sys.argv[1:4])
    level = container.Container.on(sys.argv[5], sys.argv[6], dict(os.environ), Path(sys.argv[7]))
    env = {"HOME": str(home), "TMPDIR": str(tmp)}
    code = "import os, time\\nif os.fork() == 0: os.setsid()\\nprint('up', flush=True); time.sleep(60)"
    spec = process.Spec(("python3", "-c", code, sys.argv[4]), env, work, level=level,
        places=spec_.Places(home, tmp, work), grace_seconds=1, rlimits=limits.ProcessLimits(niceness=0))
    started = await process.ConfinedProcess.start(spec)
    async for line in started.lines():
        print(line.decode(), flush=True)

asyncio.run(main())
"""
FOREVER = "import os, time\nif os.fork() == 0: os.setsid()\nprint('up', flush=True); time.sleep(60)"


@pytest.fixture
def cell() -> Iterator[cells.Cell]:
    with cells.cell("container", "root" if os.geteuid() == 0 else "user") as made:
        yield made


async def up(cell: cells.Cell, code: str = FOREVER) -> process.ConfinedProcess:
    started = await process.ConfinedProcess.start(cell.script(code))
    async for line in started.lines():
        assert line == b"up"
        break
    return started


def containers(cell: cells.Cell) -> list[str]:
    """Names of the cell's own that the engine knows, running or not: another process of these tests has others."""
    assert isinstance(cell.level, container.Container)
    said = subprocess.run(
        [engine.client(), "ps", "--all", "--filter", f"label=fettle.host={cell.level.owner}", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return said.stdout.split()


async def gone(cell: cells.Cell, seconds: float = 30) -> bool:
    """Neither a process of the cell nor a container is left. Neither sends an event."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not cell.survivors() and not await asyncio.to_thread(containers, cell):
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.fixture(autouse=True)
async def nothing_is_left(cell: cells.Cell) -> AsyncIterator[None]:
    yield
    assert await gone(cell), (cell.survivors(), containers(cell))


async def test_the_level_is_tried_and_holds(cell: cells.Cell, tmp_path: Path) -> None:
    config = levels.Config(
        tmp_path,
        dict(os.environ),
        "container",
        image=engine.image(os.geteuid()),
        engine=engine.client(),
    )
    found = await levels.tried(config, "container")
    assert found.why_not == ""
    assert list(tmp_path.iterdir()) == []


async def test_an_images_own_first_command_is_not_run(cell: cells.Cell) -> None:
    """An ENTRYPOINT would get the program as its arguments."""
    name = f"{cell.marker}:local"
    change = ["--change", 'ENTRYPOINT ["/bin/false"]', "--change", "ENV OF_THE_IMAGE=1"]
    made = [engine.client(), "import", *change, "-", name]
    await asyncio.to_thread(subprocess.run, made, input=engine.archive(), capture_output=True, timeout=60, check=True)
    try:
        done = await cell.execute(cell.spec(("sh", "-c", "echo $OF_THE_IMAGE $OWN"), image=name, env={"OWN": "2"}))
        assert (done.status.exit_code, done.stdout) == (0, "1 2\n"), done.stderr
    finally:
        await asyncio.to_thread(subprocess.run, [engine.client(), "rmi", name], capture_output=True, timeout=60)


async def test_work_inside_is_counted_and_found_from_outside(cell: cells.Cell) -> None:
    started = await up(cell, "print('up', flush=True)\nwhile True: pass")
    try:
        before, until = started.usage(), time.monotonic() + 20
        while started.usage().cpu_seconds - before.cpu_seconds < 0.1 and time.monotonic() < until:  # noqa: ASYNC110 - CPU time sends no event
            await asyncio.sleep(0.05)
        assert started.usage().cpu_seconds - before.cpu_seconds >= 0.1
        working = {each.pid for each in proc.working_in(cell.places.work)}
        assert working & set(started.pids())
    finally:
        await started.close(0)


async def test_a_silent_program_rests(cell: cells.Cell) -> None:
    """The engine's client does nothing by itself that looks like the program's work."""
    started = await up(cell)
    try:
        before = started.usage()
        await asyncio.sleep(3)
        after = started.usage()
        assert after.cpu_seconds - before.cpu_seconds < 0.3
    finally:
        await started.close(0)


async def test_a_stopped_program_is_found(cell: cells.Cell) -> None:
    started = await up(cell, "print('up', flush=True); import time; time.sleep(60)")
    try:
        assert started.launcher is not None
        assert proc.stopped_under(started.launcher.pid) is None
        [program] = [pid for pid in cell.survivors() if _is_program(pid)]
        os.kill(program, signal.SIGSTOP)
        until = time.monotonic() + 5
        while proc.stopped_under(started.launcher.pid) is None and time.monotonic() < until:  # noqa: ASYNC110 - a stop sends no event
            await asyncio.sleep(0.02)
        found = proc.stopped_under(started.launcher.pid)
        assert found is not None
        assert found.pid == program
        os.kill(program, signal.SIGCONT)
    finally:
        await started.close(0)


def _is_program(pid: int) -> bool:
    """And not the engine's client, nor a step before it, whose arguments hold the program's too."""
    words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    return words[:2] == [str(cells.SYSTEM_PYTHON).encode(), b"-I"] and b"--" not in words


async def test_a_worker_killed_with_kill_leaves_nothing(cell: cells.Cell) -> None:
    places = (cell.places.home, cell.places.tmp, cell.places.work)
    more = (cell.marker, engine.image(os.geteuid()), engine.client(), str(cell.root))
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER, *map(str, places), *more), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"up\n"
    worker.kill()
    await worker.wait()
    assert await gone(cell)


async def test_a_killed_launcher_takes_everything_with_it(cell: cells.Cell) -> None:
    started = await up(cell)
    assert started.launcher is not None
    assert proc.send(started.launcher, signal.SIGKILL)
    assert (await started.close()).signal == signal.SIGKILL
    assert await gone(cell)


async def test_a_killed_client_takes_everything_with_it(cell: cells.Cell) -> None:
    started = await up(cell)
    assert started.program is not None
    assert proc.send(started.program, signal.SIGKILL)
    assert (await started.wait()).signal == signal.SIGKILL
    assert await gone(cell, 0.5)
    await started.close(0)


async def test_a_host_that_starts_ends_what_was_left_when_worker_and_launcher_were_killed(cell: cells.Cell) -> None:
    """Nobody was left who could have."""
    launch = cell.level.plan(cell.script(FOREVER))
    left = await asyncio.create_subprocess_exec(*launch.argv, env=dict(launch.env), stdout=asyncio.subprocess.PIPE)
    assert left.stdout is not None
    assert await left.stdout.readline() == b"up\n"
    left.kill()
    await left.wait()
    assert not await gone(cell, 0.5)
    config = levels.Config(
        cell.root,
        dict(os.environ),
        "container",
        image=engine.image(os.geteuid()),
        engine=engine.client(),
    )
    assert (await levels.ready(config)).why_not == ""
    assert await gone(cell)


async def test_cancels_are_quiescent_within_the_bound(cell: cells.Cell) -> None:
    taken = []
    for _ in range(5):
        started = await up(cell)
        began = time.monotonic()
        await started.close(0)
        taken.append(time.monotonic() - began)
        assert cell.survivors() == []
    assert max(taken) < 10


async def test_exit_codes_are_those_a_shell_gives_and_output_is_whole(cell: cells.Cell) -> None:
    assert (await cell.run("import sys; sys.exit(7)")).status.exit_code == 7
    assert (await cell.run("import os; os.abort()")).status.exit_code == 128 + signal.SIGABRT
    done = await cell.run("import sys; sys.stdout.write('x' * 1_000_000 + '\\nend\\n'); sys.stderr.write('told')")
    assert [len(line) for line in done.stdout.splitlines()] == [1_000_000, 3]
    assert done.stderr == "told"
    spec = cell.script("import sys; print(len(sys.stdin.buffer.read()), len(sys.stdin.buffer.read()))")
    assert (await process.capture(dataclasses.replace(spec, stdin=b"p" * 400_000), seconds=30)).stdout == b"400000 0\n"


async def test_no_value_of_the_environment_stands_in_anybodys_arguments(cell: cells.Cell) -> None:
    started = await process.ConfinedProcess.start(cell.script(FOREVER, env={"KEY": "k-in-no-argument"}))
    try:
        async for line in started.lines():
            assert line == b"up"
            break
        shown = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                shown.append(Path("/proc", name, "cmdline").read_bytes())
            except OSError:
                continue
        assert [each for each in shown if b"k-in-no-argument" in each] == []
    finally:
        await started.close(0)


async def test_the_limits_of_one_process_are_inside(cell: cells.Cell) -> None:
    code = "import json, resource as r; print(json.dumps([r.getrlimit(x) for x in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE)]))"
    done = await cell.run(code, rlimits=cells.SMALL.model_copy(update={"open_files": 300}))
    assert json.loads(done.stdout) == [[300, 300], [4 << 20, 4 << 20]]


async def test_temporary_files_have_a_size(cell: cells.Cell) -> None:
    code = (
        cells.TRY
        + """
def fill(place):
    for number in range(20):
        with open(f"{place}/{number}", "wb") as file: file.write(b"x" * (1 << 20))
places = ("/tmp", "/var/tmp", "/dev/shm", "/run", os.environ["TMPDIR"])
print(json.dumps([attempt(lambda p=p: fill(p)) for p in places]))
"""
    )
    assert (await cell.run(code)).json == ["No space left on device"] * 5

"""What a program in bubblewrap sees of its host: what it is made of, what it was given, and nothing beside that."""

import asyncio
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain import errors
from sandbox import bubblewrap, environment, proc, process
from sandbox import spec as spec_
from tests.sandbox import cells

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed on this machine")
ROOT = Path(__file__).parents[2]
GIT = ("git", "-c", "user.name=T", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main")

WORKER = """
import asyncio, os, sys
from pathlib import Path
from sandbox import bubblewrap, process, spec

async def main():
    home, tmp, work = (Path(each) for each in sys.argv[1:4])
    level = bubblewrap.Bubblewrap.on("/usr/bin:/bin")
    places = spec.Places(home, tmp, work)
    code = "import time; print('up', flush=True); time.sleep(60)"
    argv = (sys.executable, "-I", "-S", "-c", code, sys.argv[4])
    wanted = process.Spec(argv, {"PATH": "/usr/bin:/bin"}, work, level=level, places=places, grace_seconds=1)
    started = await process.ConfinedProcess.start(wanted)
    async for line in started.lines():
        print(line.decode(), flush=True)

asyncio.run(main())
"""


@pytest.fixture
def cell() -> Iterator[cells.Cell]:
    with cells.cell("bubblewrap", "root" if os.geteuid() == 0 else "user") as made:
        yield made


async def gone(here: cells.Cell, seconds: float = 20) -> bool:
    """Waits for processes that are nobody's to await."""
    until = time.monotonic() + seconds
    while here.survivors() and time.monotonic() < until:  # noqa: ASYNC110 - they send no event
        await asyncio.sleep(0.02)
    return here.survivors() == []


def borrow(mirror: Path, work: Path) -> None:
    """A repository, and a clone that has no objects of its own."""
    mirror.mkdir()
    (mirror / "README").write_text("hello\n")
    # What whoever runs the tests has told git is not told to these repositories.
    env = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "begin")):
        subprocess.run([*GIT, *arguments], cwd=mirror, check=True, env=env)
    subprocess.run(["git", "clone", "-q", "--shared", str(mirror), str(work)], check=True, env=env)


async def test_the_launchers_environment_is_not_in_the_first_process_without_landlock_either(cell: cells.Cell) -> None:
    """With --clearenv alone it would be: bwrap itself is process 1 inside."""
    spec = cell.script("print(open('/proc/1/environ').read(), end='')", env={"MODEL_KEY": "k-in-the-agents-own"})
    launch = cell.level.plan(spec)
    bare = dataclasses.replace(launch, argv=(*launch.argv[: launch.argv.index("--") + 1], *spec.argv))

    class AsPlanned:
        name, walls, own_network, why_not = "bare", cell.level.walls, True, ""

        def plan(self, _: process.Spec) -> spec_.Launch:
            return bare

    done = await process.capture(dataclasses.replace(spec, level=AsPlanned()), seconds=20)
    assert (done.status.exit_code, done.stdout, done.stderr) == (0, b"", b"")


async def test_no_secret_stands_in_the_arguments_that_every_user_can_read(cell: cells.Cell) -> None:
    spec = cell.script("import time; print('up', flush=True); time.sleep(60)", env={"MODEL_KEY": "k-in-no-argument"})
    started = await process.ConfinedProcess.start(spec)
    try:
        async for line in started.lines():
            assert line == b"up"
            break
        assert len(cell.survivors()) >= 2  # bwrap, inside and outside, and the program
        shown = [Path("/proc", str(pid), "cmdline").read_bytes() for pid in started.pids()]
        assert [each for each in shown if b"k-in-no-argument" in each] == []
    finally:
        await started.close(0)


async def test_exit_codes_and_crashes_are_those_a_shell_gives(cell: cells.Cell) -> None:
    assert (await cell.run("import sys; sys.exit(7)")).status.exit_code == 7
    assert (await cell.run("import os; os.abort()")).status.exit_code == 128 + signal.SIGABRT


async def test_a_program_that_is_not_on_this_host_is_named(cell: cells.Cell) -> None:
    with pytest.raises(errors.AgentUnavailable, match="no-such-agent is not in the PATH of this host; install it"):
        await cell.execute(cell.spec(("no-such-agent",)))


async def test_work_inside_is_counted_and_found_from_outside(cell: cells.Cell) -> None:
    """The watch for silent agents reads the CPU time of the tree, and a lost launcher's orphans by their directory."""
    spec = cell.script("print('up', flush=True)\nwhile True: pass")
    started = await process.ConfinedProcess.start(spec)
    try:
        async for line in started.lines():
            assert line == b"up"
            break
        before, until = started.usage(), time.monotonic() + 20
        while started.usage().cpu_seconds - before.cpu_seconds < 0.1 and time.monotonic() < until:  # noqa: ASYNC110 - CPU time sends no event
            await asyncio.sleep(0.05)
        assert started.usage().cpu_seconds - before.cpu_seconds >= 0.1
        working = {each.pid for each in proc.working_in(cell.places.work)}
        assert working & set(started.pids())
    finally:
        await started.close(0)


async def test_a_worker_killed_with_kill_leaves_no_process(cell: cells.Cell) -> None:
    places = (cell.places.home, cell.places.tmp, cell.places.work)
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER, *map(str, places), cell.marker), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"up\n"
    worker.kill()
    await worker.wait()
    assert await gone(cell)


async def test_a_killed_launcher_takes_everything_with_it(cell: cells.Cell) -> None:
    started = await process.ConfinedProcess.start(
        cell.script("import os, time\nif os.fork() == 0: os.setsid()\nprint('up', flush=True); time.sleep(60)")
    )
    async for line in started.lines():
        assert line == b"up"
        break
    assert started.launcher is not None
    assert proc.send(started.launcher, signal.SIGKILL)
    assert (await started.close()).signal == signal.SIGKILL
    assert await gone(cell)


async def test_a_killed_bubblewrap_takes_everything_with_it(cell: cells.Cell) -> None:
    started = await process.ConfinedProcess.start(cell.script("import time; print('up', flush=True); time.sleep(60)"))
    async for line in started.lines():
        assert line == b"up"
        break
    assert started.program is not None
    assert proc.send(started.program, signal.SIGKILL)
    assert (await started.wait()).signal == signal.SIGKILL
    assert cell.survivors() == []
    await started.close(0)


async def test_borrowed_objects_are_read_and_cannot_be_altered(cell: cells.Cell) -> None:
    """The clone borrows the mirror's objects: `git commit` works on them, and writes to its own alone."""
    mirror = cell.root / "mirror"
    borrow(mirror, cell.places.work)
    objects = mirror / ".git" / "objects"
    script = f"""set -e
    git log --oneline | wc -l
    echo more >> README; git -c user.name=A -c user.email=a@example.invalid commit -qam more
    git log --oneline | wc -l
    git fsck --no-progress 2>&1 | head -3
    if rm -rf {objects}/* || touch {objects}/planted; then exit 91; fi
    if cat {mirror}/README || cat {mirror}/.git/config; then exit 92; fi"""
    places = dataclasses.replace(cell.places, readable=(objects,))
    before = sorted(path.relative_to(objects) for path in objects.rglob("*"))
    done = await cell.execute(dataclasses.replace(cell.spec(("sh", "-c", script)), places=places))
    assert (done.status.exit_code, done.stdout.split()) == (0, ["1", "2"]), done.stderr
    assert sorted(path.relative_to(objects) for path in objects.rglob("*")) == before


async def test_a_program_in_somebodys_home_is_shown_without_its_neighbours(cell: cells.Cell) -> None:
    """Such as an agent's CLI that npm has installed below a home directory."""
    package = cell.root / "home" / "operator" / ".npm" / "lib" / "node_modules" / "agent"
    package.mkdir(parents=True)
    (package / "cli.js").write_text(
        '#!/usr/bin/env bash\necho "$(basename $0) $(cat $(dirname $0)/data)"; ls ../../../.. 2>&1\n'
    )
    (package / "cli.js").chmod(0o755)
    (package / "data").write_text("of the package")
    (cell.root / "home" / "operator" / "secret").write_text("SECRET")
    bin_folder = cell.root / "home" / "operator" / "bin"
    bin_folder.mkdir()
    (bin_folder / "agent").symlink_to(package / "cli.js")
    code = f"ls {cell.root}/home/operator; cat {cell.root}/home/operator/secret"
    done = await cell.execute(cell.spec(("agent",), env={"PATH": f"{bin_folder}:/usr/bin:/bin"}))
    assert done.stdout.splitlines()[0] == "cli.js of the package", done.stderr
    assert "secret" not in done.stdout
    assert "SECRET" not in (await cell.execute(cell.spec(("sh", "-c", code)))).stdout


async def test_the_operators_tool_chains_are_shown_read_only(cell: cells.Cell) -> None:
    tools = cell.root / "opt" / "tools"
    tools.mkdir(parents=True)
    (tools / "build").write_text("#!/bin/sh\necho built\n")
    (tools / "build").chmod(0o755)
    assert isinstance(cell.level, bubblewrap.Bubblewrap)
    level = dataclasses.replace(cell.level, read_only=(tools, cell.root / "not-there"))
    spec = cell.spec(("sh", "-c", f"{tools}/build; touch {tools}/x"))
    done = await cell.execute(dataclasses.replace(spec, level=level))
    assert done.stdout == "built\n"
    assert not (tools / "x").exists()


async def test_the_worker_as_root_is_no_root_inside(cell: cells.Cell) -> None:
    """Agents that refuse to work as root do not have to be told that this is a sandbox."""
    done = await cell.execute(cell.spec(("sh", "-c", "id -un; id -u; grep CapEff /proc/self/status; cat /etc/passwd")))
    lines = done.stdout.splitlines()
    assert lines[:2] == ["agent", "1000"]
    assert lines[2].split() == ["CapEff:", "0000000000000000"]
    assert len(lines) == 5  # two accounts, and none of the host's


async def test_the_workers_interpreter_and_its_packages_can_be_called(cell: cells.Cell) -> None:
    if cell.worker != os.geteuid():
        pytest.skip("the worker's own interpreter is asked for")
    path = f"{Path(sys.executable).parent}:{environment.DEFAULT_PATH}"
    done = await cell.execute(
        cell.spec(("bash", "-c", "python3 -c 'import sys, pydantic; print(sys.prefix)'"), env={"PATH": path})
    )
    assert done.stdout.strip() == sys.prefix, done.stderr


async def test_temporary_files_have_a_size(cell: cells.Cell) -> None:
    code = (
        cells.TRY
        + """
def fill(place):
    for number in range(20):
        with open(f"{place}/{number}", "wb") as file: file.write(b"x" * (1 << 20))
print(json.dumps([attempt(lambda p=p: fill(p)) for p in ("/tmp", "/var/tmp", "/dev/shm", os.environ["TMPDIR"])]))
"""
    )
    assert (await cell.run(code)).json == ["No space left on device"] * 4

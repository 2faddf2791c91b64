"""Control groups where this machine lets us make them: counted by the kernel, and given back."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import cgroups, process
from tests.sandbox import cells

ROOT = Path(__file__).parents[2]


@pytest.fixture
def group() -> Iterator[cgroups.Group]:
    made = cgroups.Group.make(64 << 20, 8)
    if made is None:
        pytest.skip("this user may not make control groups here: the launcher's own watch holds the limits")
    try:
        yield made
    finally:
        made.remove()


def places(group: cgroups.Group) -> list[Path]:
    return [Path(folder) for folder in set(group._folders.values())]


def test_a_child_that_joins_is_counted_and_bounded(group: cgroups.Group) -> None:
    folders = group._folders
    code = (
        f"import sys\nfrom sandbox import cgroups\ncgroups.Group({folders!r}, unified={group._unified}).join()\n"
        "print('in', flush=True); sys.stdin.readline(); x = bytearray(b'x' * (200 << 20))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"in\n"
    assert all(str(child.pid) in (folder / "cgroup.procs").read_text().split() for folder in places(group))
    child.communicate(b"go\n", timeout=30)
    assert child.returncode == -9
    assert group.out_of_memory()


def test_a_group_is_given_back(group: cgroups.Group) -> None:
    assert all(folder.is_dir() for folder in places(group))
    group.remove()
    assert not any(folder.exists() for folder in places(group))


async def test_the_group_of_a_launcher_that_was_killed_is_removed_by_the_next(group: cgroups.Group) -> None:
    parents = [folder.parent for folder in places(group)]
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    left = [parent / f"fettle-{gone.pid}" for parent in parents]
    for folder in left:
        folder.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        done = await process.capture(process.Spec(("true",), {"PATH": "/usr/bin:/bin"}, Path(folder)), seconds=20)
    assert done.status.exit_code == 0
    assert not any(folder.exists() for folder in left)


@pytest.mark.skipif(os.geteuid() != 0, reason="tells what root does not hand down")
async def test_a_user_without_groups_is_held_by_the_watch() -> None:
    with cells.cell("none", "user") as here:
        if here.worker == os.geteuid():
            pytest.skip("there is no other user here")
        done = await here.run("print(open('/proc/self/cgroup').read())")
        assert "fettle-" not in done.stdout

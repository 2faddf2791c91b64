"""Accounts of runs: each its own, the same one again, and free when the run is gone."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain import errors
from sandbox import birth, landlock, process, user_account
from sandbox.spec import Wall
from tests.sandbox import cells

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the level `user` needs a worker that is root")


@pytest.fixture
def one() -> Iterator[cells.Cell]:
    with cells.cell("user", "root") as made:
        yield made


async def uid_of(cell: cells.Cell) -> int:
    done = await cell.run("import os; print(os.getuid(), os.getgid(), os.getgroups())")
    uid, gid, groups = done.stdout.split()
    assert (gid, groups) == (uid, "[]"), done.stderr
    return int(uid)


async def test_each_run_has_an_account_of_its_own_and_keeps_it(one: cells.Cell) -> None:
    with cells.cell("user", "root", one.root) as other:
        first, second = await uid_of(one), await uid_of(other)
        assert {first, second} == {cells.FIRST_ACCOUNT, cells.FIRST_ACCOUNT + 1}
        assert (await uid_of(one), await uid_of(other)) == (first, second)


async def test_an_account_is_free_when_its_run_is_gone(one: cells.Cell) -> None:
    assert await uid_of(one) == cells.FIRST_ACCOUNT
    with cells.cell("user", "root", one.root) as other:
        shutil.rmtree(one.places.home)
        assert await uid_of(other) == cells.FIRST_ACCOUNT


async def test_no_run_shares_the_account_of_another_when_all_are_used(one: cells.Cell, tmp_path: Path) -> None:
    level = user_account.UserAccount.on("61000-61000", one.root / "accounts")
    several = user_account.UserAccount((*level.accounts, *level.accounts), one.root / "accounts", python=level.python)
    (one.root / "accounts").mkdir()
    (one.root / "accounts" / "61000").write_text(str(tmp_path))
    spec = process.Spec(("true",), {"PATH": "/usr/bin:/bin"}, one.places.work, level=several, places=one.places)
    with pytest.raises(errors.AgentUnavailable, match="all 2 are in use: widen the range in FETTLE_SANDBOX_USER"):
        await process.capture(spec, seconds=5)


async def test_what_the_account_makes_is_its_own_and_the_worker_reads_it(one: cells.Cell) -> None:
    (one.places.work / "given").write_text("x")
    done = await one.run("open('given', 'a').write('y'); open('made', 'w').write('z')")
    assert done.status.exit_code == 0, done.stderr
    assert (one.places.work / "given").read_text() == "xy"
    assert (one.places.work / "made").stat().st_uid == cells.FIRST_ACCOUNT
    assert stat.S_IMODE(one.places.work.stat().st_mode) == 0o700


def test_a_file_with_a_second_name_is_not_given_away(tmp_path: Path) -> None:
    """The second name could be of the worker's own: an agent may have linked it where links are not protected."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "own").write_text("of the worker")
    os.link(tmp_path / "own", tree / "linked")
    (tree / "plain").write_text("x")
    os.symlink(tmp_path / "own", tree / "symbolic")
    birth.give(str(tree), 61000, 61000)
    assert (tmp_path / "own").stat().st_uid == 0
    assert (tree / "plain").stat().st_uid == 61000
    assert (tree / "symbolic").lstat().st_uid == 61000
    assert (tmp_path / "own").stat().st_uid == 0


SWAPS = """
import os, sys, time
tree, host = sys.argv[1:]
os.chdir(tree)
while True:
    os.rename("d", "e"); os.symlink(host, "d"); time.sleep(0.0005)
    os.unlink("d"); os.rename("e", "d"); time.sleep(0.0005)
"""


@pytest.mark.parametrize(("version", "held"), [(0, False), (landlock.LEAST_VERSION, True)])
def test_a_kernel_without_landlock_leaves_open_what_everybody_may_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int, held: bool
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: version)
    walls = user_account.UserAccount.on(cells.ACCOUNTS, tmp_path).walls
    assert ({Wall.READS, Wall.WRITES} <= walls, Wall.WRITES in walls) == (held, held)


def test_a_directory_that_turns_into_a_link_meanwhile_gives_no_other_file_away(tmp_path: Path) -> None:
    """Where runs share one account, a program of another run may be alive in there."""
    tree, host = tmp_path / "tree", tmp_path / "host"
    for folder in (tree / "d", host):
        folder.mkdir(parents=True)
        for number in range(400):
            (folder / str(number)).touch()
    swapping = subprocess.Popen([sys.executable, "-I", "-S", "-c", SWAPS, tree, host])
    try:
        for _ in range(20):
            birth.give(str(tree), 61000, 61000)
        assert swapping.poll() is None
    finally:
        swapping.kill()
        swapping.wait()
    assert {each.stat().st_uid for each in (host, *host.iterdir())} == {0}


async def test_no_program_gets_its_privileges_back(one: cells.Cell) -> None:
    shell = one.places.work / "shell"
    shutil.copy("/bin/sh", shell)
    shell.chmod(0o4755)
    done = await one.execute(one.spec(("sh", "-c", "id -u; ./shell -pc 'id -u'; grep NoNewPrivs /proc/self/status")))
    assert done.stdout.split() == [*[str(cells.FIRST_ACCOUNT)] * 2, "NoNewPrivs:", "1"]

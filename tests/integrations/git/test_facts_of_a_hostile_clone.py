"""The facts for a resumed agent are read by git in the agent's own clone: planted commands run confined, as it does."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from activities import rooms, turn_facts
from sandbox import unconfined
from tests.integrations.git.lab import Lab, git, write

WORKERS_SECRET = "a-token-that-only-the-worker-holds"


@pytest.fixture
def confinement(monkeypatch: pytest.MonkeyPatch) -> rooms.Confinement:
    """The weakest level: what holds here is held by the environment and the limits alone."""
    monkeypatch.setenv("FETTLE_FORGE__TOKEN", WORKERS_SECRET)
    return rooms.Confinement(dict(os.environ), unconfined.Unconfined())


def _room(lab: Lab) -> rooms.Room:
    room = rooms.Room(lab.root / "room")
    room.prepare()
    return room


def _program(lab: Lab, text: str) -> Path:
    path = lab.root / "planted.sh"
    path.write_text(f"#!/bin/sh\nenv > {lab.marker}\n{text}\n")
    path.chmod(0o755)
    return path


def _clean_filter(lab: Lab, program: Path) -> None:
    write(lab.clone, {".gitattributes": "* filter=evil\n"})
    git(lab.clone, "config", "filter.evil.clean", f"{program}; cat")


def _index_hook(lab: Lab, program: Path) -> None:
    hook = lab.clone / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.symlink_to(program)
    os.utime(lab.clone / "src" / "app.py")  # then `git status` writes the index


def _signature(lab: Lab, program: Path) -> None:
    git(lab.clone, "config", "gpg.program", str(program))
    git(lab.clone, "config", "log.showSignature", "true")
    tree = git(lab.clone, "rev-parse", "HEAD^{tree}")
    who = "A <a@b> 1 +0000"
    signed = f"tree {tree}\nauthor {who}\ncommitter {who}\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n -----END\n\nx\n"
    sha = git(lab.clone, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=signed.encode())
    git(lab.clone, "update-ref", "HEAD", sha)


@pytest.mark.parametrize("plant", [_clean_filter, _index_hook, _signature])
async def test_a_planted_command_sees_nothing_of_the_worker(
    lab: Lab, confinement: rooms.Confinement, plant: Callable[[Lab, Path], None]
) -> None:
    await lab.prepare()
    plant(lab, _program(lab, ""))
    write(lab.clone, {"README.md": "# changed\n"})
    await turn_facts.read(confinement, _room(lab), lab.clone)
    assert lab.marker.exists(), "the trap is not armed"
    assert WORKERS_SECRET not in lab.marker.read_text()


async def test_a_planted_monitor_of_files_does_not_run(lab: Lab, confinement: rooms.Confinement) -> None:
    await lab.prepare()
    git(lab.clone, "config", "core.fsmonitor", str(_program(lab, "")))
    git(lab.clone, "status")
    assert lab.marker.exists(), "the trap is not armed"
    lab.marker.unlink()
    assert (await turn_facts.read(confinement, _room(lab), lab.clone)).known
    assert not lab.marker.exists()


async def test_a_command_that_never_ends_is_ended_and_the_facts_are_unknown(
    lab: Lab, confinement: rooms.Confinement, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.prepare()
    said = lab.root / "pid"
    _clean_filter(lab, _program(lab, f"echo $$ > {said}\nexec sleep 300"))
    write(lab.clone, {"README.md": "# changed\n"})
    for seconds in (1.0, 4.0, 16.0):  # a busy machine may end it before it has begun
        monkeypatch.setattr(turn_facts, "_SECONDS", seconds)
        assert await turn_facts.read(confinement, _room(lab), lab.clone) == turn_facts.Facts()
        if said.exists() and said.read_text():
            break
    async with asyncio.timeout(20):
        while _lives(int(said.read_text())):  # noqa: ASYNC110 - nobody tells of a process that is not ours
            await asyncio.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_an_answer_without_end_is_cut(lab: Lab, confinement: rooms.Confinement) -> None:
    await lab.prepare()
    write(lab.clone, {f"{'long-name-' * 20}{n}.txt": "x" for n in range(500)})
    facts = await turn_facts.read(confinement, _room(lab), lab.clone)
    assert len(facts.uncommitted) <= 16_000


async def test_a_repository_that_is_gone_has_no_facts(lab: Lab, confinement: rooms.Confinement) -> None:
    await lab.prepare()
    os.rename(lab.clone / ".git", lab.root / "gone")
    assert await turn_facts.read(confinement, _room(lab), lab.clone) == turn_facts.Facts()

"""Agents and verifications are confined by the host's level; no way leads around it."""

import ast
import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities import rooms, verification
from domain import errors, redaction, work
from integrations.agent import port
from integrations.git import clones
from sandbox import bubblewrap, levels, limits, process
from sandbox import spec as spec_
from tests.integrations.git.lab import HELD_SECRET, REPO, RUN, Lab

ROOT = Path(__file__).parents[2]
NEEDS_BUBBLEWRAP = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed on this machine"
)
REFUSING = levels.Refusing("bubblewrap", "it was tried and let something through")


@pytest.fixture
async def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    await made.prepare()
    return made


async def verified(lab: Lab, command: str, level: spec_.Level, seconds: float = 30) -> work.Verification:
    activities = verification.VerificationActivities(
        lab.forge,  # type: ignore[arg-type]  # the two methods it uses
        lab.mirrors,
        lab.store,
        redaction.Redactor(frozenset({HELD_SECRET})),
        level,
        rlimits=limits.ProcessLimits(memory_mebibytes=256, file_mebibytes=8),
    )
    request = work.VerifyCommit(run=RUN, repo=REPO, sha=lab.first, command=command, timeout_seconds=seconds)
    return await ActivityEnvironment().run(activities.verify_commit, request)


@NEEDS_BUBBLEWRAP
async def test_a_verification_runs_behind_the_level(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    command = f"""set -e; test -f README.md; git rev-parse HEAD; echo x > made; id -un; python3 -c 'print(1 + 1)'
        if cat {tmp_path}/secret; then exit 91; fi
        if ls {lab.mirrors.state}/mirrors; then exit 92; fi
        if python3 -c 'import socket; socket.create_connection(("192.0.2.1", 443), 3)'; then exit 93; fi"""
    done = await verified(lab, command, bubblewrap.Bubblewrap.on(os.environ["PATH"]))
    assert done.passed, done.tail
    assert [lab.first, "agent", "2"] == done.tail.split("\n")[:3]
    assert "SECRET" not in done.tail


@NEEDS_BUBBLEWRAP
async def test_a_verification_that_takes_too_much_says_so(lab: Lab) -> None:
    command = "python3 -c 'x = [bytearray(b\"x\" * (8 << 20)) for _ in range(100)]'"
    done = await verified(lab, command, bubblewrap.Bubblewrap.on(os.environ["PATH"]))
    assert not done.passed
    assert "MemoryError" in done.tail or "256 MiB" in done.tail


async def test_a_host_without_a_sandbox_verifies_nothing(lab: Lab) -> None:
    with pytest.raises(errors.AgentUnavailable, match="does not work on this host: it was tried"):
        await verified(lab, "true", REFUSING)


async def test_a_host_without_a_sandbox_starts_no_agent(tmp_path: Path) -> None:
    room = rooms.Room(tmp_path / "room")
    room.prepare()
    confined = rooms.Confinement({"PATH": os.environ["PATH"]}, REFUSING)
    with pytest.raises(errors.AgentUnavailable, match="touch was not started"):
        await process.ConfinedProcess.start(
            confined.spec(port.Command(("touch", str(tmp_path / "ran"))), room, tmp_path, ())
        )
    assert not (tmp_path / "ran").exists()


async def test_an_agent_is_shown_its_repositorys_objects_and_what_its_command_reads(lab: Lab) -> None:
    confined = rooms.Confinement({"PATH": os.environ["PATH"]}, REFUSING)
    command = port.Command(("agent",), reads=(Path("/opt/script.json"),))
    note = clones.RunClone.of(lab.mirrors.state, RUN).read_note()
    assert note is not None
    spec = confined.spec(command, rooms.Room.of(lab.mirrors.state, RUN), lab.clone, ())
    assert spec.places is not None
    assert lab.mirrors.of(REPO).objects in spec.places.readable
    assert Path("/opt/script.json") in spec.places.readable
    assert (spec.places.work, spec.level) == (lab.clone, REFUSING)
    assert dataclasses.replace(spec, network=Path("/run/s")).network == Path("/run/s")


def test_only_those_that_wall_a_process_make_specifications() -> None:
    """A process that is started beside them would have the worker's rights. The code graph's is our own program, which
    reads what strangers wrote: it has no level, and walls of its own."""
    makers = []
    for room in ("activities", "workers", "cli", "web", "integrations"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in {"process.Spec", "spec.Spec", "Spec"}:
                    keywords = {each.arg: each.value for each in node.keywords}
                    own = path.name == "code_graph.py" and ast.unparse(keywords["argv"]).startswith("walled(")
                    assert own or {"level", "places"} <= keywords.keys(), f"{path}:{node.lineno}"
                    makers.append(path.relative_to(ROOT).as_posix())
    assert sorted(set(makers)) == ["activities/code_graph.py", "activities/rooms.py", "activities/verification.py"]

"""What the agent wrote, for people and for programs, while it is written and afterwards."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from activities import artifact_store
from domain import agent, implement, refs, wire
from tests.cli import world
from tests.cli.world import World, asay, at_gate


class Turns:
    """Writes turns of a run where an agent host would."""

    def __init__(self, artifacts: Path, issue: refs.Issue) -> None:
        self._artifacts = artifacts
        self._issue = issue
        self._written = time.time_ns()

    def write(self, turn: int, *events: dict[str, Any]) -> None:
        file = self._artifacts / artifact_store.run_key(self._issue.workflow_id, f"turn-{turn}.jsonl")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as log:
            log.writelines(json.dumps({"scripted": True, **event}) + "\n" for event in events)
        self._written += 1_000_000_000  # files that are written in one tick of the kernel's clock have one time
        os.utime(file, ns=(self._written, self._written))


@pytest.fixture
def turns(runs: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turns:
    monkeypatch.setenv("FETTLE_ARTIFACTS_DIR", str(tmp_path))
    return Turns(tmp_path, runs.repo.issue(1))


async def begin(runs: World) -> Any:
    return await runs.start(at_gate(runs.repo.issue(1), session=agent.Session(backend="scripted")))


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


async def test_the_newest_turn_is_printed_for_people(runs: World, turns: Turns) -> None:
    await begin(runs)
    turns.write(1, text("first"))
    turns.write(
        2,
        text("I will [red]fix[/red] it\nsoon"),
        {"type": "tool", "tool": "Edit a.py"},
        {"type": "result", "outcome": "finished", "text": "done", "cost_usd": 0.5},
    )
    found = await asay("logs", f"{runs.repo}#1")
    assert found.code == 0, found.err
    assert found.out.splitlines() == [
        "I will [red]fix[/red] it",
        "soon",
        "→ Edit a.py",
        "■ finished, 0.50 USD",
        "■ done",
    ]


async def test_a_turn_can_be_named(runs: World, turns: Turns) -> None:
    await begin(runs)
    turns.write(1, text("first"))
    turns.write(2, text("second"))
    assert (await asay("logs", f"{runs.repo}#1", "--round", "1")).out == "first\n"
    missing = await asay("logs", f"{runs.repo}#1", "--round", "7")
    assert missing.code == 1
    assert "there are 1, 2" in missing.err


async def test_the_turn_is_read_as_the_agents_that_the_pool_gave_it_to(runs: World, turns: Turns) -> None:
    """The run hears of it only when its round has ended."""
    issue = runs.repo.issue(1)
    await runs.start(at_gate(issue, backend="claude", session=None))
    given = implement.State(run=issue.workflow_id, issue=issue, session=agent.Session(backend="scripted", id="s1"))
    await runs.client.start_workflow(
        wire.IMPLEMENT_WORKFLOW, given, id=refs.round_id(issue.workflow_id), task_queue=wire.CONTROL_QUEUE
    )
    turns.write(1, text("first"))
    assert (await asay("logs", f"{runs.repo}#1")).out == "first\n"


async def test_each_turn_is_read_as_the_agents_that_wrote_it(runs: World, turns: Turns, tmp_path: Path) -> None:
    issue = runs.repo.issue(1)
    await runs.start(at_gate(issue, backend="claude", session=agent.Session(backend="claude", id="s1")))
    turns.write(1, text("first"))
    (tmp_path / artifact_store.writer_key(issue.workflow_id, 1)).write_text("scripted")
    assert (await asay("logs", f"{runs.repo}#1", "--round", "1")).out == "first\n"
    (event,) = (await asay("logs", f"{runs.repo}#1", "--json")).json
    assert event["text"] == "first"


async def test_json_is_a_list_of_events(runs: World, turns: Turns) -> None:
    await begin(runs)
    turns.write(1, text("first"))
    (event,) = (await asay("logs", f"{runs.repo}#1", "--json")).json
    assert (event["round"], event["kind"], event["text"]) == (1, "text", "first")


async def test_raw_prints_the_lines_as_they_are(runs: World, turns: Turns, server: str, tmp_path: Path) -> None:
    await begin(runs)
    turns.write(1, text("first \x1b"))
    found = await asyncio.to_thread(
        world.spawn,
        "logs",
        f"{runs.repo}#1",
        "--raw",
        TEMPORAL_ADDRESS=server,
        FETTLE_ARTIFACTS_DIR=str(tmp_path),
    )
    assert found.out == json.dumps({"scripted": True, "type": "text", "text": "first \x1b"}) + "\n"


async def test_nothing_written_says_where_it_looked(runs: World, turns: Turns, tmp_path: Path) -> None:
    await begin(runs)
    found = await asay("logs", f"{runs.repo}#1")
    assert found.code == 1
    assert str(tmp_path) in found.err
    assert f"fettle explain {runs.repo}#1" in found.err


async def test_json_and_follow_are_a_usage_error(runs: World) -> None:
    assert (await asay("logs", f"{runs.repo}#1", "--json", "--follow")).code == 2


async def test_a_run_that_was_started_again_shows_its_own_turns(runs: World, turns: Turns) -> None:
    """A new run of the same issue counts its turns from 1; turn 2 on disk is the earlier run's."""
    await begin(runs)
    turns.write(2, text("of the earlier run"))
    turns.write(1, text("of this run"))
    assert (await asay("logs", f"{runs.repo}#1")).out == "of this run\n"


async def test_follow_shows_turns_as_they_come_and_ends_with_the_run(runs: World, turns: Turns, server: str) -> None:
    handle = await begin(runs)
    turns.write(1, text("one"))
    command = [*_script(), "logs", f"{runs.repo}#1", "-f"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=_environment()
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"one\n"
    turns.write(1, text("two"))
    assert await process.stdout.readline() == b"two\n"
    turns.write(2, text("three"))
    assert await process.stdout.readline() == b"three\n"
    await handle.signal(wire.ISSUE_CHANGED)
    assert await process.wait() == 0


def _script() -> list[str]:
    import sys

    return [sys.executable, "-m", "cli.main"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(world.ROOT)}

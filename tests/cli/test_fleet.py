"""The list of runs: who is in it, in which order, and what it costs to print."""

import asyncio
import os
import pty
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from domain import implement, path_leases, refs, run, wire
from tests.cli import world
from tests.cli.world import HEAD, World, asay, at_gate

SHAPE = {
    "run",
    "kind",
    "repo",
    "issue",
    "phase",
    "hold",
    "agent",
    "since",
    "needs_human",
    "pull_request",
    "head_sha",
}


def received(issue: refs.Issue) -> run.State:
    return run.State(issue=issue)


def as_issue(repo: refs.Repository) -> TypedSearchAttributes:
    kind, place = SearchAttributeKey.for_keyword(wire.SA_KIND), SearchAttributeKey.for_keyword(wire.SA_REPO)
    return TypedSearchAttributes([SearchAttributePair(kind, "issue"), SearchAttributePair(place, str(repo))])


async def rows(runs: World, *words: str) -> list[dict[str, Any]]:
    found = await asay("fleet", "--json", "--repo", str(runs.repo), *words)
    assert found.code == 0, found.err
    assert found.err == ""
    return list(found.json)


async def test_json_is_a_list_of_rows_with_what_the_run_knows(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)), needs_human=True)
    (row,) = await rows(runs)
    assert set(row) >= SHAPE
    assert (row["run"], row["kind"], row["issue"]) == (f"{runs.repo}#1", "issue", 1)
    assert (row["phase"], row["hold"], row["needs_human"]) == ("awaiting_approval", "merge_approval", True)
    assert (row["pull_request"], row["head_sha"]) == (70, HEAD)


async def test_a_run_that_waits_for_anothers_files_says_for_whose(runs: World) -> None:
    one, other = runs.repo.issue(1), runs.repo.issue(2)
    pair = path_leases.Pair(run=one.workflow_id, probability=0.46, files=("cart.py",))
    state = received(other).model_copy(update={**world.STEPS_TO_GATE, "admitted": False, "behind": (pair,)})
    await runs.start(state)
    (row,) = await rows(runs)
    assert (row["hold"], row["needs_human"]) == ("conflict", False)
    assert row["waits_for"] == f"{one}, which is likely (46 %) to change cart.py too"
    shown = await asay("fleet", "--once", "--repo", str(runs.repo))
    assert f"{other} waits for {row['waits_for']}; fettle release {other} lets it go on beside" in shown.out
    told = await asay("explain", str(other))
    assert f"waits for   {row['waits_for']}" in told.out
    assert f"fettle release {other}" in told.out


async def test_an_empty_list_is_an_empty_list(runs: World) -> None:
    assert await rows(runs) == []


async def test_an_empty_fleet_says_what_to_do_next(runs: World) -> None:
    found = await asay("fleet", "--repo", str(runs.repo))
    assert found.out == "no run matches: drop a filter, or add --all to see runs that have ended\n"


async def test_incidents_go_first_then_who_needs_a_person_then_the_oldest(runs: World) -> None:
    await runs.start(received(runs.repo.issue(1)))
    await runs.start(received(runs.repo.issue(2)))
    await runs.start(received(runs.repo.issue(3)), needs_human=True)
    number = 10_000 + int(runs.repo.name.removeprefix("api"))
    await runs.start(received(runs.repo.issue(number)), kind="incident")
    found = [row["run"] for row in await rows(runs)]
    assert found == [f"incident/sentry/{number}", f"{runs.repo}#3", f"{runs.repo}#1", f"{runs.repo}#2"]


async def test_filters_narrow_the_list(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)), needs_human=True)
    await runs.start(received(runs.repo.issue(2)))
    assert [row["issue"] for row in await rows(runs, "--needs-human")] == [1]
    assert [row["issue"] for row in await rows(runs, "--phase", "received")] == [2]


async def test_ended_runs_are_listed_with_all_and_once_only(runs: World) -> None:
    for _ in range(2):
        handle = await runs.start(at_gate(runs.repo.issue(1)))
        await handle.signal(wire.ISSUE_CHANGED)
        await handle.result()
    await runs.listed(f"WorkflowId = '{handle.id}' AND ExecutionStatus = 'Completed'", count=2)
    assert await rows(runs) == []
    (row,) = await rows(runs, "--all")
    assert row["status"] == "completed"


async def test_a_child_of_a_run_is_no_run(runs: World) -> None:
    issue = runs.repo.issue(1)
    await runs.start(received(issue))
    child = implement.State(run=issue.workflow_id, issue=issue)
    await runs.client.start_workflow(
        wire.IMPLEMENT_WORKFLOW,
        child,
        id=f"{issue.workflow_id}/implement",
        task_queue=wire.CONTROL_QUEUE,
        search_attributes=as_issue(runs.repo),
    )
    await runs.listed(f"WorkflowId = '{issue.workflow_id}/implement'")
    assert [row["run"] for row in await rows(runs)] == [f"{runs.repo}#1"]


async def test_only_so_many_runs_are_asked_for_details(runs: World) -> None:
    for number in (1, 2):
        await runs.start(at_gate(runs.repo.issue(number)))
    assert [row["pull_request"] for row in await rows(runs, "--details", "1")] == [70, None]


async def test_a_run_that_does_not_answer_keeps_its_row(runs: World) -> None:
    handle = await runs.client.start_workflow(
        "Unheard",
        id=runs.repo.issue(1).workflow_id,
        task_queue="nobody-polls-this",
        search_attributes=as_issue(runs.repo),
    )
    await runs.listed(f"RunId = '{handle.result_run_id}' AND ExecutionStatus = 'Running'")
    (row,) = await rows(runs)
    assert (row["pull_request"], row["head_sha"]) == (None, None)
    await handle.terminate()


async def test_a_table_is_printed_once_without_a_terminal(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)), needs_human=True)
    found = await asay("fleet", "--repo", str(runs.repo))
    assert found.code == 0, found.err
    for word in (f"{runs.repo}#1", "awaiting_approval", "merge_approval", "#70", "1 run; 1 needs a person"):
        assert word in found.out


async def test_a_title_is_never_read_as_markup(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1), title="[red]x[/red] \x1b[31m :smile:"))
    found = await asay("fleet", "--repo", str(runs.repo), "--once")
    assert "[red]x[/red]  [31m :smile:" in found.out
    assert "\x1b" not in found.out


@pytest.mark.parametrize("words", [("--repo", "acme"), ("--phase", "sleeping"), ("--repo", "a/b' OR 1=1")])
def test_a_filter_that_names_nothing_is_a_usage_error(words: tuple[str, ...]) -> None:
    assert world.say("fleet", *words).code == 2


async def test_the_live_table_ends_with_130_on_ctrl_c(runs: World, tmp_path: Path) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    screen, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(world.ROOT), "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    command = (sys.executable, "-m", "cli.main", "fleet", "--repo", str(runs.repo))
    process = await asyncio.create_subprocess_exec(*command, stdin=terminal, stdout=terminal, env=environment)
    os.close(terminal)
    seen = b""
    began = time.monotonic()
    while f"{runs.repo}#1".encode() not in seen:
        assert time.monotonic() - began < 30
        seen += await asyncio.to_thread(os.read, screen, 65536)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    os.close(screen)

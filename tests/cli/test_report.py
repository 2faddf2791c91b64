"""`status` tells everything about a run, `explain` why it stands still; open or ended, with a worker or without."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from activities import artifact_store
from domain import fleet, merge_queue, refs, run, wire
from tests.cli.world import HEAD, STEPS_TO_GATE, World, asay, at_gate


async def test_status_tells_everything(runs: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_UI_URL", "http://ui.test/")
    await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("status", f"{runs.repo}#1")
    assert found.code == 0, found.err
    for words in (
        f"{runs.repo}#1  Totals are [bold]wrong[/bold]",
        "implementing for 4m",
        f"{HEAD} (1 file,",
        "approve by rules at 3f2c1ab00: small",
        "CI is green on 3f2c1ab00: test",
        "#70 ready https://forge.test/pull/70",
        "0.25 USD",
        f"fettle approve {runs.repo}#1 --head {HEAD}",
        f"http://ui.test/namespaces/default/workflows/issue%2Facme%2F{runs.repo.name}%2F1/",
    ):
        assert words in found.out, words


async def test_status_json_is_one_object(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    found = (await asay("status", f"{runs.repo}#1", "--json")).json
    assert (found["run"], found["status"], found["phase"]) == (f"{runs.repo}#1", "running", "awaiting_approval")
    assert (found["pull_request"], found["head_sha"], found["cost_usd"]) == (70, HEAD, 0.25)
    assert found["explanation"]["whose_move"] == "a person"
    assert found["closed_at"] is None
    assert run.State.model_validate(found["state"]).issue == runs.repo.issue(1)


async def test_status_of_an_ended_run_tells_how_it_ended(runs: World) -> None:
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    await handle.signal(wire.ISSUE_CHANGED)
    await handle.result()
    found = await asay("status", f"{runs.repo}#1")
    assert "done: merged" in found.out
    assert "(completed)" in found.out
    assert "waits for" not in found.out


async def test_status_shows_the_agents_last_lines(runs: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FETTLE_ARTIFACTS_DIR", str(tmp_path))
    issue = runs.repo.issue(1)
    file = tmp_path / artifact_store.run_key(issue.workflow_id, "turn-1.jsonl")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"scripted": True, "type": "text", "text": "I looked \x1b[2Jaround"}) + "\n")
    from domain import agent

    await runs.start(at_gate(issue, session=agent.Session(backend="scripted")))
    found = await asay("status", f"{runs.repo}#1")
    assert "I looked  [2Jaround" in found.out
    assert "\x1b" not in found.out


async def test_a_run_that_no_worker_answers_for_is_told_from_the_servers_view(
    runs: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.runs.QUERY_TIMEOUT", __import__("datetime").timedelta(seconds=1))
    issue = runs.repo.issue(1)
    handle = await runs.client.start_workflow("Unheard", id=issue.workflow_id, task_queue="nobody-polls-this")
    status = await asay("status", str(issue))
    assert status.code == 0
    assert "fettle worker list" in status.out
    explained = await asay("explain", str(issue))
    assert explained.code == 3
    assert "no worker answers" in explained.err
    await handle.terminate()


async def test_explain_names_wait_mover_end_and_next_command(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("explain", f"{runs.repo}#1")
    assert found.code == 0, found.err
    lines = dict(line.split("  ", 1) for line in found.out.splitlines() if "  " in line)
    told = {name.strip(): value.strip() for name, value in lines.items()}
    assert told["waits for"].startswith("a person's approval of 3f2c1ab00")
    assert told["whose move"] == "a person"
    assert told["next"] == f"fettle approve {runs.repo}#1 --head {HEAD}"


async def test_explain_json_is_the_explanation(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    found = (await asay("explain", f"{runs.repo}#1", "--json")).json
    assert found["step"] == "await merge approval"
    assert set(found) >= {"run", "waits_for", "since", "whose_move", "ends_when", "deadline", "next_command", "notes"}


async def test_explain_shows_what_is_tried_again_and_why(runs: World) -> None:
    state = at_gate(runs.repo.issue(1), hold=None)
    assert state.change is not None
    state.change.ci = None
    state.move(run.Phase.AWAITING_CI, datetime.now(UTC))
    handle = await runs.start(state)
    await _until_tried_again(handle)
    found = (await asay("explain", f"{runs.repo}#1", "--json")).json
    assert found["whose_move"] == "ci"
    (note,) = found["notes"]
    assert note.startswith("poll_checks is at attempt 3, the last one failed: the forge gave no answer; the next one")


async def _until_tried_again(handle: object) -> None:
    import asyncio

    from temporalio.client import WorkflowHandle

    assert isinstance(handle, WorkflowHandle)
    async with asyncio.timeout(20):
        while True:
            pending = (await handle.describe()).raw_description.pending_activities
            if pending and pending[0].attempt == 3:
                return
            await asyncio.sleep(0.05)


async def test_explain_reads_the_repositorys_line(runs: World) -> None:
    issue = runs.repo.issue(1)
    waiting = fleet.RepositoryState(
        repo=runs.repo,
        settings=fleet.Settings(),
        max_in_flight=1,
        running=(runs.repo.issue(9).workflow_id,),
        waiting=(fleet.Waiting(run=issue.workflow_id, order=1),),
    )
    await runs.client.start_workflow(
        wire.REPOSITORY_WORKFLOW, waiting, id=refs.repository_workflow_id(runs.repo), task_queue=wire.CONTROL_QUEUE
    )
    await runs.start(run.State(issue=issue).model_copy(update={**STEPS_TO_GATE, "admitted": False}))
    found = (await asay("explain", str(issue), "--json")).json
    assert "1 of at most 1 in flight, it is number 1 of 1 in line" in found["waits_for"]
    assert f"{runs.repo}#9" in found["ends_when"]


async def test_explain_reads_the_merge_queues_line(runs: World) -> None:
    def entry(number: int) -> merge_queue.Entry:
        return merge_queue.Entry(run=runs.repo.issue(number).workflow_id, pull=runs.repo.pull(number), head_sha=HEAD)

    queue = merge_queue.State(repo=runs.repo, branch="main", current=entry(9), entries=(entry(1),))
    await runs.client.start_workflow(
        wire.MERGE_QUEUE_WORKFLOW,
        queue,
        id=refs.merge_queue_workflow_id(runs.repo, "main"),
        task_queue=wire.CONTROL_QUEUE,
    )
    state = at_gate(runs.repo.issue(1), hold=None)
    assert state.change is not None
    state.change.approval = run.Approval(by="ann", head_sha=HEAD)
    await runs.start(state)
    found = (await asay("explain", f"{runs.repo}#1", "--json")).json
    assert f"number 1 in line behind {runs.repo}#9" in found["waits_for"]

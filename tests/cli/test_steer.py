"""What people tell a run: each verb answers with the new state, and a refusal is the run's own sentence."""

import asyncio

import pytest

from domain import agent, fleet, merge_queue, refs, run, steps, wire, work
from tests.cli import stand_ins
from tests.cli.world import HEAD, STEPS_TO_GATE, World, asay, at_gate, say
from tests.workflows.runs import eventually


async def test_approve_with_the_head_goes_on_to_the_merge(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("approve", f"{runs.repo}#1", "--head", HEAD[:7], "--note", "read it")
    assert found.code == 0, found.err
    assert found.out == f"{runs.repo}#1 is awaiting_approval, next: merge\n"


async def test_approve_is_recorded_under_the_operators_name(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("approve", f"{runs.repo}#1", "--head", HEAD, "--json")
    approval = run.State.model_validate(found.json).change
    assert approval is not None
    assert approval.approval is not None
    assert (approval.approval.by, approval.approval.head_sha) == ("ann", HEAD)


async def test_approving_twice_is_one_approval(runs: World) -> None:
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    for _ in range(2):
        assert (await asay("approve", f"{runs.repo}#1", "--head", HEAD)).code == 0
    accepted = [
        e
        async for e in handle.fetch_history_events()
        if e.HasField("workflow_execution_update_accepted_event_attributes")
    ]
    assert len(accepted) == 1


async def test_an_action_that_is_asked_for_again_can_be_allowed_again(runs: World) -> None:
    question = agent.Question(id="toolu_1", tool="Bash", text="git push")
    state = run.State(issue=runs.repo.issue(1), question=question, rounds=1).model_copy(update=STEPS_TO_GATE)
    handle = await runs.start(state)
    allow = ("approve", f"{runs.repo}#1", "--action", "toolu_1")
    for _ in range(2):  # saying the same twice counts once
        assert (await asay(*allow)).code == 0
    await handle.signal(stand_ins.ASKED_AGAIN)
    assert (await asay(*allow)).code == 0
    now = await handle.query(wire.SNAPSHOT, result_type=run.State)
    assert now.answer is not None
    assert now.answer.allow


async def test_approving_another_head_is_refused_with_both_shas(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("approve", f"{runs.repo}#1", "--head", "9d04e77")
    assert found.code == 1
    assert found.out == ""
    assert "9d04e77" in found.err
    assert HEAD in found.err


async def test_approve_without_a_head_and_without_a_terminal_gives_the_exact_command(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("approve", f"{runs.repo}#1", "--note", "it is fine")
    assert found.code == 2
    assert f"fettle approve '{runs.repo}#1' --head {HEAD} --note 'it is fine'" in found.err
    assert "https://forge.test/pull/70" in found.err


async def test_approve_on_a_terminal_shows_the_head_and_asks(runs: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question: asked.append(question) or False)
    found = await asay("approve", f"{runs.repo}#1")
    assert asked == ["approve exactly this head?"]
    assert HEAD in found.err
    assert found.code == 1
    assert "nothing was decided" in found.err


async def test_the_dispatch_gate_needs_no_head(runs: World) -> None:
    state = at_gate(runs.repo.issue(1), change=None, pull=None, mode="review-all", order=run.WorkOrder())
    state.mode = run.ApprovalMode.REVIEW_ALL
    assert steps.next_step(state) is steps.Step.AWAIT_DISPATCH
    await runs.start(state)
    found = await asay("approve", f"{runs.repo}#1")
    assert found.code == 0, found.err
    assert "next: implement" in found.out


async def test_reject_ends_the_run_with_the_note(runs: World) -> None:
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("reject", f"{runs.repo}#1", "--head", HEAD, "--note", "wrong approach")
    assert found.code == 0, found.err
    assert found.out == f"{runs.repo}#1 ends as rejected: rejected by ann: wrong approach\n"
    assert (await handle.result()).phase is run.Phase.REJECTED


async def test_reject_without_a_note_is_a_usage_error(runs: World) -> None:
    assert (await asay("reject", f"{runs.repo}#1")).code == 2


async def test_hold_and_release(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    held = await asay("hold", f"{runs.repo}#1", "--note", "release day")
    assert held.out == f"{runs.repo}#1 is awaiting_approval, held (user) by ann, next: await release\n"
    again = await asay("hold", f"{runs.repo}#1")
    assert (again.code, again.out) == (1, "")
    assert "already held by ann" in again.err
    released = await asay("release", f"{runs.repo}#1", "--json")
    assert released.json["hold"] is None
    assert (await asay("release", f"{runs.repo}#1")).code == 1


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        (merge_queue.End.MERGED, 1, f"came too late: the merge of {HEAD} was cleared before it, and is made"),
        (merge_queue.End.REFUSED, 0, "held (user) by ann, next: await release"),
    ],
)
async def test_a_hold_of_a_cleared_merge_waits_for_what_becomes_of_it(
    runs: World, end: merge_queue.End, code: int, told: str
) -> None:
    state = at_gate(runs.repo.issue(1), merge=run.MergeState(requested=True, cleared_sha=HEAD))
    handle = await runs.start(state)
    hold = asyncio.create_task(asay("hold", f"{runs.repo}#1"))
    await eventually(
        lambda: handle.query(wire.SNAPSHOT, result_type=run.State), lambda s: s.hold and s.hold.by == "ann"
    )
    await handle.signal(wire.MERGE_ENDED, merge_queue.Ended(head_sha=HEAD, end=end, merge_sha=HEAD, sentence="no"))
    said = await hold
    assert said.code == code, said.err
    assert told in said.out + said.err


async def test_edit_sends_what_was_given_and_nothing_else(runs: World, tmp_path: object) -> None:
    await runs.start(at_gate(runs.repo.issue(1), model="small"))
    found = await asay("edit", f"{runs.repo}#1", "--agent", "codex", "--priority", "1", "--json")
    assert found.code == 0, found.err
    assert (found.json["backend"], found.json["priority"], found.json["model"]) == ("codex", 1, "small")


async def test_edit_reads_the_prompt_from_a_file(runs: World, tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "prompt.md"
    file.write_text("keep the old signature\n")
    await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("edit", f"{runs.repo}#1", "--prompt-file", str(file), "--json")
    assert found.json["human_note"] == "keep the old signature\n"
    assert found.json["order"]["reason"] == "edit"


@pytest.mark.parametrize(
    "words", [(), ("--prompt", "x", "--prompt-file", __file__), ("--priority", "9"), ("--prompt", "x" * 10_001)]
)
async def test_an_edit_that_cannot_be_sent_is_a_usage_error(runs: World, words: tuple[str, ...]) -> None:
    found = await asay("edit", f"{runs.repo}#1", *words)
    assert found.code == 2
    assert found.out == ""


async def test_cancel_waits_until_the_run_is_quiescent(runs: World) -> None:
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("cancel", f"{runs.repo}#1", "--reason", "not needed")
    assert found.code == 0, found.err
    assert found.out == f"{runs.repo}#1 is quiescent: it has ended (completed)\n"
    ending = (await handle.result()).ending
    assert ending is not None
    assert ending.reason == "cancelled by ann: not needed"


async def test_cancel_without_waiting_returns_at_once_and_says_so(runs: World) -> None:
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("cancel", f"{runs.repo}#1", "--reason", "slowly", "--no-wait", "--json")
    assert found.json == {"run": f"{runs.repo}#1", "cancel_requested": True, "quiescent": False, "status": None}
    await handle.terminate()


async def test_cancel_that_takes_too_long_is_a_failure(runs: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.steer._CLOSE_SECONDS", 0.5)
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("cancel", f"{runs.repo}#1", "--reason", "slowly")
    assert found.code == 1
    assert f"fettle explain {runs.repo}#1" in found.err
    await handle.terminate()


async def test_retry_releases_a_stuck_run_and_refuses_one_that_is_not(runs: World) -> None:
    stuck = run.Hold(kind=run.HoldKind.UNKNOWN_OUTCOME, note="'publish' ended in NotFound")
    await runs.start(at_gate(runs.repo.issue(1), hold=stuck))
    assert (await asay("retry", f"{runs.repo}#1")).code == 0
    found = await asay("retry", f"{runs.repo}#1")
    assert found.code == 1
    assert "nothing to retry" in found.err


async def test_retry_of_an_ended_run_starts_it_again(runs: World) -> None:
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    await asay("cancel", f"{runs.repo}#1")
    found = await asay("retry", f"{runs.repo}#1", "--fresh")
    assert found.code == 0, found.err
    newest = await runs.client.get_workflow_handle(handle.id).query(wire.SNAPSHOT, result_type=run.State)
    assert (newest.fresh, newest.asked_by, newest.change) == (True, "ann", None)


@pytest.mark.parametrize("options", [(), ("--fresh",)])
async def test_retry_of_a_run_that_is_done_is_refused(runs: World, options: tuple[str, ...]) -> None:
    """Its issue is closed: a new run would work on nothing."""
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    await handle.signal(wire.ISSUE_CHANGED)
    await handle.result()
    found = await asay("retry", f"{runs.repo}#1", *options)
    assert (found.code, found.out) == (1, "")
    assert f"{runs.repo}#1 is done (merged) and a retry would work on a closed issue: reopen the issue" in found.err
    newest = await runs.client.get_workflow_handle(handle.id).describe()
    assert newest.run_id == handle.result_run_id


BY_HAND = work.AcceptedCommit(sha=HEAD, by="ann", files=(work.ProtectedFile(path="CODEOWNERS"),))


@pytest.mark.parametrize(("options", "accepted"), [((), (BY_HAND,)), (("--fresh",), ())])
async def test_retry_of_a_rejected_run_starts_it_again(
    runs: World, options: tuple[str, ...], accepted: tuple[work.AcceptedCommit, ...]
) -> None:
    """It goes on with the branch, so what a person did there by hand stays accepted."""
    handle = await runs.start(at_gate(runs.repo.issue(1), accepted=(BY_HAND,)))
    await asay("reject", f"{runs.repo}#1", "--head", HEAD, "--note", "wrong approach")
    await handle.result()
    found = await asay("retry", f"{runs.repo}#1", *options)
    assert found.code == 0, found.err
    again = runs.client.get_workflow_handle(handle.id)
    assert (await again.describe()).run_id != handle.result_run_id
    assert (await again.query(wire.SNAPSHOT, result_type=run.State)).accepted == accepted


async def test_retry_fresh_of_an_open_run_is_refused(runs: World) -> None:
    await runs.start(at_gate(runs.repo.issue(1)))
    found = await asay("retry", f"{runs.repo}#1", "--fresh")
    assert found.code == 1
    assert f"fettle cancel {runs.repo}#1" in found.err


@pytest.mark.parametrize("verb", ["hold", "release", "cancel"])
async def test_an_ended_run_says_where_its_end_is_told(runs: World, verb: str) -> None:
    handle = await runs.start(at_gate(runs.repo.issue(1)))
    await handle.signal(wire.ISSUE_CHANGED)
    await handle.result()
    found = await asay(verb, f"{runs.repo}#1")
    assert found.code == 1
    assert found.err == (f"error: {runs.repo}#1 has ended (completed): see how with fettle status {runs.repo}#1\n")


@pytest.mark.parametrize("verb", ["hold", "release", "cancel", "status", "explain", "approve", "retry"])
async def test_a_run_that_never_was_says_how_to_start_it(runs: World, verb: str) -> None:
    found = await asay(verb, f"{runs.repo}#404")
    assert found.code == 1
    assert f"there is no run of {runs.repo}#404: label the issue fettle to start one" in found.err


# --- the fleet -------------------------------------------------------------------------------------------------------


async def test_pause_without_a_fleet_workflow_says_what_to_start(runs: World) -> None:
    found = await asay("pause")
    assert found.code == 1
    assert "fettle worker control" in found.err


async def test_pause_and_resume_the_fleet(runs: World) -> None:
    handle = await runs.client.start_workflow(
        wire.FLEET_WORKFLOW, fleet.FleetState(), id=refs.FLEET_WORKFLOW_ID, task_queue=wire.CONTROL_QUEUE
    )
    try:
        paused = await asay("pause", "--note", "incident")
        assert paused.out == "the fleet is paused: no new work starts (by ann, incident)\n"
        again = await asay("pause")
        assert again.code == 1
        assert "is paused already" in again.err
        resumed = await asay("resume", "--json")
        assert resumed.json["settings"]["paused"] is False
    finally:
        await handle.terminate()


@pytest.mark.parametrize("words", [(), ("full-auto",)])
async def test_mode_without_a_fleet_workflow_says_what_to_start(runs: World, words: tuple[str, ...]) -> None:
    found = await asay("mode", *words)
    assert found.code == 1
    assert "fettle worker control" in found.err


async def test_mode_is_shown_and_changed_for_new_runs(runs: World) -> None:
    handle = await runs.client.start_workflow(
        wire.FLEET_WORKFLOW, fleet.FleetState(), id=refs.FLEET_WORKFLOW_ID, task_queue=wire.CONTROL_QUEUE
    )
    try:
        shown = await asay("mode")
        assert "the fleet's approval mode is review-merge: a person approves each merge" in shown.out
        changed = await asay("mode", "review-all", "--note", "audit")
        assert changed.code == 0, changed.err
        assert "approval mode is review-all" in changed.out
        assert "(by ann, audit); it counts for runs that start from now on" in changed.out
        assert (await asay("mode", "--json")).json["settings"]["mode"] == "review-all"
        state = await handle.query(wire.SNAPSHOT, result_type=fleet.FleetState)
        assert state.settings.paused is False
    finally:
        await handle.terminate()


def test_a_mode_that_does_not_exist_is_a_usage_error() -> None:
    found = say("mode", "yolo")
    assert found.code == 2
    assert "review-merge" in found.err

"""Places in a repository, and the merge queue of a branch: several runs at once, on the real entities."""

import asyncio
from collections import deque

import pytest
from temporalio import client

from domain import errors, fleet, merge_queue, refs, run, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows.installation import Installation
from tests.workflows.runs import Run, eventually
from tests.workflows.world import GREEN, PENDING, RED, Turn, World


async def configure(fettle: Installation, **change: object) -> fleet.FleetState:
    handle = fettle.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    state: fleet.FleetState = await handle.execute_update(
        wire.CONFIGURE, fleet.Change.model_validate({"by": "ann", **change}), result_type=fleet.FleetState
    )
    return state


@pytest.mark.slow
async def test_ten_runs_at_once_never_take_more_places_than_there_are(fettle: Installation, world: World) -> None:
    world.policy = RepositoryPolicy(max_in_flight=3)
    runs = await asyncio.gather(*(fettle.start(world.issue(n)) for n in range(1, 11)))
    ended = await asyncio.gather(*(r.ended() for r in runs))
    assert [e.phase for e in ended] == [run.Phase.DONE] * 10
    working: set[str] = set()
    taken = []
    for name, about in world.calls:
        if name in {wire.CLAIM_HOST, wire.CLOSE_RUN}:
            (working.add if name == wire.CLAIM_HOST else working.discard)(about)
            taken.append(len(working))
    assert max(taken) == 3
    assert world.effect_counts()["merged"] == 10
    for started in runs:
        await started.place_is_free()


@pytest.mark.slow  # ten seconds and more of real waiting
async def test_a_pause_stops_claiming_and_nothing_else(fettle: Installation, world: World) -> None:
    working = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1))
    await working.reached.wait()
    try:
        await configure(fettle, paused=True, note="release day")
        await eventually(first.place, lambda s: s.settings and s.settings.paused)
        second = await fettle.start(world.issue(2))
        await second.until(lambda s: s.admission_asked)
        working.open.set()
        assert (await first.ended()).phase is run.Phase.DONE
        await first.place_is_free()
        await second.quiet()
        assert world.count(wire.CLAIM_HOST, str(second.issue)) == 0
    finally:
        await configure(fettle, paused=False)
    assert (await second.ended()).phase is run.Phase.DONE


async def test_the_more_urgent_run_gets_the_next_place(fettle: Installation, world: World) -> None:
    world.policy = RepositoryPolicy(max_in_flight=1)
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1))
    await stop.reached.wait()
    usual = await fettle.start(world.issue(2))
    await usual.until(lambda s: s.admission_asked)
    urgent = await fettle.start(world.issue(3, labels=("fettle", "priority-1")))
    await urgent.until(lambda s: s.admission_asked)
    stop.open.set()
    await asyncio.gather(first.ended(), usual.ended(), urgent.ended())
    claims = [about for name, about in world.calls if name == wire.CLAIM_HOST]
    assert claims == [str(r.issue) for r in (first, urgent, usual)]


async def test_two_runs_that_edit_the_same_file_both_end_merged(fettle: Installation, world: World) -> None:
    """The second one conflicts with what the first one merged, is repaired, judged again, and merged."""
    world.turns = {n: deque([Turn({"shared.py": f"by {n}"}), Turn({"shared.py": "by both"})]) for n in (1, 2)}
    runs = await asyncio.gather(*(fettle.start(world.issue(n)) for n in (1, 2)))
    ended = await asyncio.gather(*(r.ended() for r in runs))
    assert [e.phase for e in ended] == [run.Phase.DONE] * 2
    assert sorted(e.used.conflict for e in ended) == [0, 1]
    assert world.effect_counts()["merged"] == 2
    assert world.forge.commits[world.forge.branches["main"]].tree["shared.py"] == "by both"
    repaired = next(e for e in ended if e.used.conflict)
    assert len([t for t in world.turn_requests if t.run == repaired.issue.workflow_id]) == 2


async def waiting_in_queue(fettle: Installation, world: World, number: int) -> Run:
    """A run whose head is green and whose base has moved since: it needs a candidate."""
    world.mode = ApprovalMode.REVIEW_MERGE
    started = await fettle.start(world.issue(number))
    head = await started.at_gate()
    world.forge.push("main", {f"meanwhile-{number}.py": "1"})
    await started.approve(head)
    return started


async def test_a_candidate_is_tested_on_the_present_base_and_again_when_the_base_moves(
    fettle: Installation, world: World
) -> None:
    world.pushes_before_merge.append(lambda: world.forge.push("main", {"again.py": "1"}))
    started = await waiting_in_queue(fettle, world, 1)
    ended = await started.ended()
    assert ended.phase is run.Phase.DONE
    assert world.effect_counts()["candidate built"] == 2
    assert world.count(wire.MERGE_CANDIDATE) == 2
    tested = [about for name, about in world.calls if name == wire.POLL_CHECKS][-1]
    assert world.forge.holds(tested, world.forge.commits[ended.merge.merged_sha].parents[0])


async def test_a_red_candidate_is_repaired_and_judged_again(fettle: Installation, world: World) -> None:
    world.mode = ApprovalMode.REVIEW_MERGE
    started = await fettle.start(world.issue(1))
    head = await started.at_gate()
    world.forge.push("main", {"meanwhile.py": "1"})
    world.ci_next.append(RED)
    await started.approve(head)
    await started.until(lambda s: s.used.ci == 1)
    second = await started.until(lambda s: s.change.head_sha != head and s.hold is not None)
    assert world.effect_counts()["merged"] == 0
    assert "merge candidate: CI is red" in world.turn_requests[-1].brief.feedback
    await started.approve(second.change.head_sha)
    assert (await started.ended()).phase is run.Phase.DONE


async def test_a_candidate_that_is_withdrawn_frees_the_branch_for_the_next(fettle: Installation, world: World) -> None:
    first = await waiting_in_queue_with_silent_ci(fettle, world)
    second = await fettle.start(world.issue(2))
    await second.approve(await second.at_gate())
    await second.until(lambda s: s.phase is run.Phase.QUEUED)
    await first.hold("not today")
    assert (await second.ended()).phase is run.Phase.DONE
    assert (await first.state()).hold.kind is run.HoldKind.USER
    world.ci = GREEN
    await first.release()
    assert (await first.ended()).phase is run.Phase.DONE


async def waiting_in_queue_with_silent_ci(fettle: Installation, world: World) -> Run:
    world.mode = ApprovalMode.REVIEW_MERGE
    started = await fettle.start(world.issue(1))
    head = await started.at_gate()
    world.forge.push("main", {"meanwhile.py": "1"})
    built = world.effect_counts()["candidate built"]
    world.ci_next.append(PENDING)
    await started.approve(head)
    await world.until(lambda: world.effect_counts()["candidate built"] > built)
    polls = world.count(wire.POLL_CHECKS)
    await world.called(wire.POLL_CHECKS, polls + 1)
    return started


async def test_an_entry_whose_run_is_gone_does_not_block_the_branch(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.BUILD_CANDIDATE)
    lost = await fettle.start(world.issue(1))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2))
    await second.until(lambda s: s.phase is run.Phase.QUEUED)
    await lost.handle.terminate("by a test")
    stop.open.set()
    assert (await second.ended()).phase is run.Phase.DONE
    assert world.effect_counts()["merged"] == 1


async def test_a_queue_that_knows_nothing_of_a_run_answers_its_withdrawal(fettle: Installation, world: World) -> None:
    """A cancel may overtake the request to be queued; the run waits for the queue's word."""
    first = await fettle.start(world.issue(1))
    await first.ended()
    world.mode = ApprovalMode.REVIEW_MERGE
    second = await fettle.start(world.issue(2))
    head = await second.at_gate()
    queue = fettle.temporal.get_workflow_handle(refs.merge_queue_workflow_id(world.repo, "main"))
    await queue.signal(wire.MERGE_WITHDRAWN, merge_queue.Withdrawal(run=second.handle.id, head_sha=head))
    await eventually(lambda: second.events("WORKFLOW_EXECUTION_SIGNALED"), lambda signals: len(signals) == 1)
    await second.approve(head)
    assert (await second.ended()).phase is run.Phase.DONE
    assert (await queue.describe()).status is client.WorkflowExecutionStatus.RUNNING


async def test_a_queue_that_cannot_be_told_at_once_is_told_durably(fettle: Installation, world: World) -> None:
    world.before[wire.REQUEST_MERGE] = deque([errors.ForgeUnavailable("try again"), errors.ForgeUnavailable("again")])
    started = await fettle.start(world.issue(1))
    await started.ended()
    assert world.count(wire.REQUEST_MERGE) == 3
    assert world.effect_counts()["merged"] == 1


async def test_an_answer_of_the_queue_that_was_lost_counts_one_merge(fettle: Installation, world: World) -> None:
    """The run asks again after it was lined up: its entry is found merged."""
    world.after[wire.REQUEST_MERGE] = deque([errors.ForgeUnavailable("lost"), errors.ForgeUnavailable("lost again")])
    started = await fettle.start(world.issue(1))
    await started.ended()
    queue_id = refs.merge_queue_workflow_id(world.repo, "main")
    await started.quiet(queue_id)
    queue = fettle.temporal.get_workflow_handle(queue_id)
    state: merge_queue.State = await queue.query(wire.SNAPSHOT, result_type=merge_queue.State)
    assert (world.count(wire.REQUEST_MERGE), world.effect_counts()["merged"], state.merged) == (3, 1, 1)


async def test_a_question_of_the_queue_that_comes_with_the_approval_is_too_early(
    fettle: Installation, world: World
) -> None:
    """The worker dies while it lines the run up, so that the approval is taken up again, together with the question of
    a queue that was reached: what the run has not written it has not asked for."""
    world.mode = ApprovalMode.REVIEW_MERGE
    started = await fettle.start(world.issue(1))
    head = await started.at_gate()
    question = merge_queue.ClearanceQuestion(run=started.handle.id, head_sha=head)
    async with fettle.without_control():
        await started.handle.signal(wire.SIGNAL_APPROVE, {"by": "ann", "head_sha": head})
        asked = await started.admitted_update(wire.CLEAR_MERGE, question, merge_queue.Clearance)
    clearance = await asked
    assert not clearance.granted
    assert "has not lined up" in clearance.reason
    assert (await started.ended()).phase is run.Phase.DONE
    assert world.effect_counts()["merged"] == 1

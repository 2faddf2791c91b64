"""People's decisions: which head they are about, how often they count, and what a refusal says."""

import pytest
from temporalio import client
from temporalio.exceptions import ApplicationError

from domain import run, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows.installation import Installation
from tests.workflows.runs import Run
from tests.workflows.world import RED, World

STALE = "3f2c1ab" + "0" * 33


@pytest.fixture
def world(fettle: Installation) -> World:
    made = fettle.world()
    made.mode = ApprovalMode.REVIEW_MERGE
    return made


async def refusal(call: object) -> str:
    with pytest.raises(client.WorkflowUpdateFailedError) as refused:
        await call  # type: ignore[misc] # an update in flight
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "Refused"
    return refused.value.cause.message


async def kinds(started: Run) -> int:
    return len(await started.events("WORKFLOW_EXECUTION_UPDATE_ACCEPTED"))


async def test_an_approval_of_a_stale_head_is_refused_with_both_shas(fettle: Installation, world: World) -> None:
    started = await fettle.start(world.issue(1))
    head = await started.at_gate()
    said = await refusal(started.approve(STALE))
    assert STALE in said
    assert head in said
    assert await kinds(started) == 0
    assert (await started.state()).change.approval is None
    await started.handle.signal(wire.SIGNAL_APPROVE, run.Decision(by="ann", head_sha=STALE))
    card = (await started.until(lambda s: s.refused)).refused
    assert STALE in card
    assert head in card
    assert world.effect_counts()["merged"] == 0
    await started.handle.signal(wire.SIGNAL_APPROVE, run.Decision(by="ann", head_sha=head))
    assert (await started.ended()).merge.merged_sha


async def test_a_push_between_approval_and_merge_is_never_merged_unseen(fettle: Installation, world: World) -> None:
    """The queue finds another head at the moment of the merge; review and CI begin again, the approval is void."""
    started = await fettle.start(world.issue(1))
    first = await started.at_gate()
    branch = (await started.state()).branch
    pushed: list[str] = []
    world.pushes_before_merge.append(lambda: pushed.append(world.forge.push(branch, {"by_hand.py": "1"})))
    await started.approve(first)
    await started.until(lambda s: s.change.head_sha != first and s.hold is not None)
    state = await started.state()
    assert state.change.head_sha == pushed[0]
    assert state.change.approval is None
    assert state.merge == run.MergeState()
    assert first in await refusal(started.approve(first))
    assert world.effect_counts()["merged"] == 0
    await started.approve(pushed[0])
    await started.ended()
    assert world.forge.pulls[100].reviews == [first, pushed[0]]


async def test_approving_twice_is_one_approval(fettle: Installation, world: World) -> None:
    started = await fettle.start(world.issue(1))
    head = await started.at_gate()
    stop = world.stop(wire.BUILD_CANDIDATE)
    first = await started.approve(head, by="ann", update_id="one")
    again = await started.approve(head, by="ann", update_id="one")
    await stop.reached.wait()
    other = await started.approve(head, by="ben", update_id="two")
    assert first.change.approval == again.change.approval == other.change.approval
    assert other.change.approval.by == "ann"
    stop.open.set()
    await started.ended()
    assert world.effect_counts()["merged"] == 1
    assert world.count(wire.REQUEST_MERGE) == 1


async def test_an_approval_before_the_gate_is_refused_also_while_held(fettle: Installation, world: World) -> None:
    """A hold opens no gate before its time."""
    stop = world.stop(wire.POLL_CHECKS)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    head = (await started.state()).change.head_sha
    assert "not at its merge gate" in await refusal(started.approve(head))
    await started.hold()
    assert "not at its merge gate" in await refusal(started.approve(head))
    await started.release()
    stop.open.set()
    await started.approve(await started.at_gate())
    await started.ended()


async def test_an_approval_while_held_counts_after_the_release(fettle: Installation, world: World) -> None:
    started = await fettle.start(world.issue(1))
    head = await started.at_gate()
    await started.hold("looking")
    approved = await started.approve(head)
    assert approved.hold.kind is run.HoldKind.USER
    await started.quiet()
    assert world.count(wire.REQUEST_MERGE) == 0
    await started.release()
    assert (await started.ended()).phase is run.Phase.DONE


async def test_the_dispatch_gate_is_approved_while_held_and_opens_with_the_release(
    fettle: Installation, world: World
) -> None:
    world.mode = ApprovalMode.REVIEW_ALL
    started = await fettle.start(world.issue(1))
    await started.until(lambda s: s.hold is not None)
    await started.hold()
    assert (await started.approve()).dispatch_approval is not None
    assert world.count(wire.RUN_AGENT) == 0
    await started.release()
    await started.at_gate()
    assert (await started.handle.describe()).status is client.WorkflowExecutionStatus.RUNNING
    await started.handle.cancel()


@pytest.mark.parametrize("where", ["gate", "ci", "turn"])
async def test_a_rejection_ends_the_run_at_once_in_the_persons_words(
    fettle: Installation, world: World, where: str
) -> None:
    """Also while CI runs, and while the agent works: the rejection does not wait for them."""
    stop = world.stop(wire.RUN_AGENT) if where == "turn" else None
    world.ci = "pending" if where == "ci" else world.ci
    started = await fettle.start(world.issue(1))
    if where == "gate":
        await started.at_gate()
    elif where == "ci":
        await world.called(wire.POLL_CHECKS)
    elif stop:
        await stop.reached.wait()
    change = (await started.state()).change
    decision = run.Decision(by="ben", approve=False, head_sha=change.head_sha if change else "", note="not like this")
    await started.update(wire.DECIDE, decision)
    ended = await started.ended()
    assert ended.phase is run.Phase.REJECTED
    assert ended.ending.reason == "rejected by ben: not like this"
    assert world.forge.issues[1].labels == {wire.LABEL_REJECTED}
    assert world.effect_counts()["pull closed"] == (0 if where == "turn" else 1)
    assert world.live == set()
    assert world.host_of(started.handle.id) is None


async def test_a_cleared_merge_can_no_longer_be_rejected(fettle: Installation, world: World) -> None:
    """The answer must be true: the merge is made whatever a late rejection says."""
    stop = world.stop(wire.MERGE_CANDIDATE)
    started = await fettle.start(world.issue(1))
    head = await started.at_gate()
    await started.approve(head)
    await stop.reached.wait()
    assert "under way" in await refusal(
        started.update(wire.DECIDE, run.Decision(by="ben", approve=False, head_sha=head))
    )
    stop.open.set()
    assert (await started.ended()).phase is run.Phase.DONE


async def test_new_instructions_at_the_gate_order_another_round(fettle: Installation, world: World) -> None:
    started = await fettle.start(world.issue(1))
    first = await started.at_gate()
    await started.update(wire.EDIT, run.Edit(by="ann", prompt="Use decimal", model="large", priority=1))
    await started.until(lambda s: s.change.head_sha != first and s.hold is not None)
    last = world.turn_requests[-1]
    assert last.brief.reason == "edit"
    assert last.brief.human_note == last.brief.feedback == "Use decimal"
    assert last.model == "large"
    assert last.resume
    assert len(world.turn_requests) == 2
    await started.approve(await started.at_gate())
    ended = await started.ended()
    assert ended.priority == 1
    assert ended.merge.merged_sha


async def test_instructions_during_a_round_are_not_lost(fettle: Installation, world: World) -> None:
    """The agent at work has its brief; the next round brings the new one."""
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await started.update(wire.EDIT, run.Edit(by="ann", prompt="Use decimal", agent="other"))
    stop.open.set()
    await started.at_gate()
    assert [t.brief.human_note for t in world.turn_requests] == ["", "Use decimal"]
    assert world.turn_requests[1].session.backend == "other"
    await started.approve(await started.at_gate())
    await started.ended()


async def test_new_instructions_for_a_queued_head_take_it_out_of_the_queue(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.BUILD_CANDIDATE)
    started = await fettle.start(world.issue(1))
    first = await started.at_gate()
    await started.approve(first)
    await stop.reached.wait()
    await started.update(wire.EDIT, run.Edit(by="ann", prompt="Use decimal"))
    stop.open.set()
    await started.until(lambda s: s.change.head_sha != first and s.hold is not None)
    assert world.effect_counts()["merged"] == 0
    await started.approve(await started.at_gate())
    await started.ended()
    assert world.effect_counts()["merged"] == 1


async def test_labels_choose_the_model_and_a_model_advises_on_the_order_only(
    fettle: Installation, world: World
) -> None:
    world.judge = "model"
    issue = world.issue(1, labels=("fettle", "fettle-model-opus"))
    started = await fettle.start(issue)
    await started.at_gate()
    state = await started.state()
    assert (state.model, state.priority, state.triage.by) == ("opus", 2, "model")
    await started.handle.cancel()


async def test_a_rejected_head_is_repaired_by_the_stronger_model(fettle: Installation, world: World) -> None:
    world.judge = "model"
    world.policy = RepositoryPolicy(model="small", escalation_model="large")
    world.verdicts.append(("it deletes the database",))
    started = await fettle.start(world.issue(1))
    await started.at_gate()
    assert [(t.model, t.brief.reason) for t in world.turn_requests] == [("small", "initial"), ("large", "review")]
    assert "it deletes the database" in world.turn_requests[1].brief.feedback
    await started.approve(await started.at_gate())
    await started.ended()


async def test_red_ci_goes_back_to_the_agent_with_its_log(fettle: Installation, world: World) -> None:
    world.ci_next.append(RED)
    started = await fettle.start(world.issue(1))
    await started.at_gate()
    assert "E assert 1 == 2" in world.turn_requests[1].brief.feedback
    assert len(world.forge.pulls) == 1
    await started.approve(await started.at_gate())
    assert (await started.ended()).used.ci == 1

"""A person takes the worktree and the session over, and hands them back."""

from collections import deque

from domain import errors, implement, run, wire, work
from domain.policy import ApprovalMode
from tests.workflows.installation import Installation
from tests.workflows.runs import Run, eventually
from tests.workflows.test_deciding import refusal
from tests.workflows.test_turns import in_its_first_turn, paused
from tests.workflows.world import Turn, World


async def taken(started: Run, *, now: bool = False) -> run.State:
    return await started.update(wire.TAKE_OVER, run.TakeoverRequest(by="ann", now=now))


async def taken_mid_turn(started: Run) -> run.State:
    """Until the round knows of it: the turn that ends before it does is followed by the next step."""
    state = await taken(started)
    await eventually(lambda: round_of(started), lambda s: s.taken_over_by)
    return state


async def handed_back(started: Run, note: str = "") -> run.State:
    return await started.update(wire.HAND_BACK, implement.Handback(by="ann", note=note))


async def round_of(started: Run) -> implement.State:
    state: implement.State = await started.child.query(wire.SNAPSHOT, result_type=implement.State)
    return state


async def at_safe_point(started: Run) -> implement.State:
    return await eventually(lambda: round_of(started), lambda s: s.theirs)


def work_by_hand(world: World, started: Run, path: str = "by_hand.py") -> str:
    """What a person does in the worktree: a commit of their own."""
    host = world.host_of(started.issue.workflow_id)
    assert host is not None
    at = host.worktrees[started.issue.workflow_id]
    host.worktrees[started.issue.workflow_id] = world.forge.commit((at,), {**world.forge.commits[at].tree, path: "1"})
    return host.worktrees[started.issue.workflow_id]


async def test_a_takeover_waits_for_the_turn_and_keeps_the_host(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    state = await taken_mid_turn(started)
    assert state.hold is not None
    assert state.hold.kind is run.HoldKind.TAKEOVER
    stop.open.set()
    found = await at_safe_point(started)
    assert found.lease is not None
    assert found.session is not None
    assert found.grant is None  # a person needs no place in the pool
    assert world.host_of(started.issue.workflow_id) is not None
    await handed_back(started)
    assert (await started.ended()).phase is run.Phase.DONE


async def test_a_run_that_waits_for_its_next_turn_is_taken_over_at_once(fettle: Installation, world: World) -> None:
    """On a host that it gets for that, with what the agent left."""
    world.turns[1] = deque([Turn(limited=True), Turn()])
    started, stop = await in_its_first_turn(fettle, world)
    async with paused(fettle):
        stop.open.set()
        await world.called(wire.RELEASE_HOST)
        await taken(started)
        found = await at_safe_point(started)
        assert found.lease is not None
        host = world.host_of(started.issue.workflow_id)
        assert host is not None
        assert host.worktrees[started.issue.workflow_id] == world.in_progress[started.issue.workflow_id]
        assert len(world.turn_requests) == 1
        await handed_back(started)
    assert (await started.ended()).phase is run.Phase.DONE
    assert len(world.turn_requests) == 2


async def test_what_a_person_changed_is_a_commit_that_the_agent_is_told_of(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await taken_mid_turn(started)
    stop.open.set()
    await at_safe_point(started)
    sha = work_by_hand(world, started)
    await handed_back(started, "rounded by hand")
    ended = await started.ended()
    assert ended.phase is run.Phase.DONE
    last = world.turn_requests[-1]
    assert last.brief is not None
    assert last.brief.reason == "handback"
    assert sha in last.brief.feedback
    assert "by_hand.py" in last.brief.feedback
    assert "rounded by hand" in last.brief.feedback
    assert last.session.id == world.turn_requests[0].session.id
    assert "by_hand.py" in world.forge.commits[world.forge.branches["main"]].tree


async def test_a_person_in_a_hurry_interrupts_the_turn(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await taken(started, now=True)
    found = await at_safe_point(started)
    assert found.turn is None
    assert not world.live
    await handed_back(started)
    assert (await started.ended()).phase is run.Phase.DONE


async def test_a_run_at_its_gate_can_be_taken_over(fettle: Installation, world: World) -> None:
    world.mode = ApprovalMode.REVIEW_MERGE
    started = await fettle.start(world.issue(1))
    first = await started.at_gate()
    await taken(started)
    await at_safe_point(started)
    work_by_hand(world, started)
    await handed_back(started)
    second = (await started.until(lambda s: s.change is not None and s.change.head_sha != first)).change
    assert second is not None
    head = await started.at_gate()
    assert head != first
    await started.approve(head)
    assert (await started.ended()).phase is run.Phase.DONE


async def test_a_cancelled_run_leaves_the_persons_disk_alone(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await taken_mid_turn(started)
    stop.open.set()
    await at_safe_point(started)
    host = world.host_of(started.issue.workflow_id)
    assert host is not None
    await started.handle.cancel()
    await started.cancelled()
    assert started.issue.workflow_id in host.worktrees


async def test_what_is_not_taken_over_is_not_handed_back(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    assert "nothing to hand back" in await refusal(handed_back(started))
    await taken_mid_turn(started)
    assert "taken over by ann already" in await refusal(taken(started))
    assert "fettle handback" in await refusal(started.release())
    stop.open.set()
    await at_safe_point(started)
    await handed_back(started)
    await started.ended()


async def test_a_turn_that_fails_for_good_before_the_safe_point_ends_the_run(
    fettle: Installation, world: World
) -> None:
    world.policy = world.policy.model_copy(
        update={"budgets": world.policy.budgets.model_copy(update={"agent_error": 0})}
    )
    world.turns[1] = deque([Turn(error=errors.AgentCrashed("exit code 1"))])
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await taken_mid_turn(started)
    stop.open.set()
    assert (await started.ended()).phase is run.Phase.FAILED


async def test_who_takes_over_may_stop_waiting_for_the_turn(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await taken(started)
    await taken(started, now=True)
    assert (await at_safe_point(started)).turn is None
    await handed_back(started)
    assert (await started.ended()).phase is run.Phase.DONE


async def test_a_hold_after_a_handback_gives_nobody_elses_work_a_persons_name(
    fettle: Installation, world: World
) -> None:
    world.turns[1] = deque([Turn(), Turn(files={"agent.py": "1"})])
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await taken_mid_turn(started)
    stop.open.set()
    await at_safe_point(started)
    work_by_hand(world, started)
    again = world.stop(wire.RUN_AGENT)
    await handed_back(started)
    await again.reached.wait()
    await started.hold()
    await started.child_is_held()
    again.open.set()
    await started.release()
    assert (await started.ended()).phase is run.Phase.DONE
    assert len(world.turn_requests) == 2


CI = ".github/workflows/ci.yml"


async def changed_by_hand(fettle: Installation, world: World) -> tuple[Run, str]:
    """A run whose person has changed what the policy protects and handed it back, held before its agent goes on."""
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await taken_mid_turn(started)
    stop.open.set()
    await at_safe_point(started)
    sha = work_by_hand(world, started, CI)
    await handed_back(started)
    return started, sha


async def test_a_persons_commit_stays_accepted_for_the_rest_of_the_run(fettle: Installation, world: World) -> None:
    """Also in a later round, and the record names the person."""
    world.mode = ApprovalMode.REVIEW_MERGE
    started, sha = await changed_by_hand(fettle, world)
    head = await started.at_gate()
    record, *later = world.integrations
    assert (record.person, record.accepted) == ("ann", ())
    assert record.handed_over is not None
    assert record.handed_over.head_sha not in {"", sha}
    [accepted] = (await started.state()).accepted
    assert (accepted.sha, accepted.by, [each.path for each in accepted.files]) == (sha, "ann", [CI])
    brief = world.turn_requests[-1].brief
    assert brief is not None
    assert "ann changed protected paths" in brief.feedback
    assert later
    await started.update(wire.EDIT, run.Edit(by="ann", prompt="and a test"))
    await started.until(lambda s: s.change is not None and s.change.head_sha != head)
    assert all((each.person, each.handed_over, each.accepted) == ("", None, (accepted,)) for each in later)
    assert world.integrations[-1].accepted == (accepted,)
    assert [each.accepted for each in world.prepared] == [(), (accepted,)]


async def test_a_worktree_that_cannot_be_read_is_handed_over_all_the_same(fettle: Installation, world: World) -> None:
    """What the agent left is not known then, so no change of a protected path is taken for the person's."""
    world.unreadable = True
    started, _ = await changed_by_hand(fettle, world)
    assert (await started.ended()).accepted == ()
    assert world.integrations[0].person == "ann"
    assert world.integrations[0].handed_over == work.HandedOver()

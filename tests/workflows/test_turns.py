"""Turns that follow each other, and the pool that lends them."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from domain import errors, refs, roster, run, turns, wire
from domain.policy import RepositoryPolicy
from tests.workflows.installation import Installation
from tests.workflows.runs import Run, attempted_now, eventually
from tests.workflows.world import Stop, Turn, World


async def turns_of(fettle: Installation) -> turns.State:
    fleet = fettle.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    state: turns.State = await fleet.query(wire.TURNS, result_type=turns.State)
    return state


async def test_a_turn_that_ends_at_its_limit_is_continued_without_the_whole_prompt(
    fettle: Installation, world: World
) -> None:
    world.turns[1] = deque([Turn(limited=True), Turn(limited=True), Turn()])
    started = await fettle.start(world.issue(1))
    assert (await started.ended()).phase is run.Phase.DONE
    assert [request.continuation for request in world.turn_requests] == [False, True, True]
    assert len({request.session.id for request in world.turn_requests}) == 1


async def test_continued_turns_have_an_end(fettle: Installation, world: World) -> None:
    world.policy = RepositoryPolicy(max_turns=2)
    world.turns[1] = deque([Turn(limited=True), Turn(limited=True), Turn(limited=True)])
    started = await fettle.start(world.issue(1))
    assert (await started.ended()).phase is run.Phase.DONE  # what is there after them is judged like any work
    assert len(world.turn_requests) == 2


async def test_the_issue_is_read_again_before_another_turn(fettle: Installation, world: World) -> None:
    """No webhook tells: the round itself finds that the issue was closed, before it spends another turn."""
    world.turns[1] = deque([Turn(limited=True)])
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    world.forge.issues[1].open = False
    stop.open.set()
    ended = await started.ended()
    assert ended.phase is run.Phase.CANCELLED
    assert len(world.turn_requests) == 1


async def test_a_providers_refusal_is_waited_for_without_a_slot_and_the_session_goes_on(
    fettle: Installation, world: World
) -> None:
    world.backend = "claude"  # the cool-down is the provider's, for every run of this server
    world.policy = RepositoryPolicy.model_validate({"budgets": {"agent_error": 0}})
    world.turns[1] = deque([Turn(error=errors.QuotaExhausted("come back later", retry_after=timedelta(seconds=3)))])
    started = await fettle.start(world.issue(1))
    await world.called(wire.RELEASE_HOST)
    assert world.host_of(started.issue.workflow_id) is None
    assert (await started.ended()).phase is run.Phase.DONE
    first, second = world.turn_requests
    assert second.session.id == first.session.id


@asynccontextmanager
async def paused(fettle: Installation) -> AsyncIterator[None]:
    """Nobody gets a turn meanwhile."""
    fleet = fettle.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)

    async def change(kind: roster.Kind) -> None:
        await fleet.execute_update(wire.CHANGE_AGENTS, roster.Change(by="ann", kind=kind, name="dev-default"))

    await change(roster.Kind.PAUSE)
    try:
        yield
    finally:
        await change(roster.Kind.RESUME)


async def in_its_first_turn(fettle: Installation, world: World) -> tuple[Run, Stop]:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    return started, stop


async def waits_for_its_turn(started: Run) -> None:
    async def waiting() -> list[str]:
        described = (await started.child.describe()).raw_description
        return [each.activity_type.name for each in described.pending_activities]

    await eventually(waiting, lambda names: wire.BEGIN_TURN in names)


async def test_a_run_that_waits_for_its_next_turn_frees_its_host(fettle: Installation, world: World) -> None:
    """A budget may be spent until midnight: the slot is for runs that can go on."""
    world.turns[1] = deque([Turn(limited=True), Turn()])
    started, stop = await in_its_first_turn(fettle, world)
    async with paused(fettle):
        stop.open.set()
        await world.called(wire.RELEASE_HOST)
        assert world.host_of(started.issue.workflow_id) is None
        assert len(world.turn_requests) == 1
    assert (await started.ended()).phase is run.Phase.DONE
    first, second = world.turn_requests
    assert second.session.id == first.session.id


async def test_a_run_whose_work_is_on_its_host_alone_waits_there(fettle: Installation, world: World) -> None:
    """Another host would begin without it."""
    world.turns[1] = deque([Turn(limited=True, alone=True), Turn()])
    started, stop = await in_its_first_turn(fettle, world)
    async with paused(fettle):
        stop.open.set()
        await waits_for_its_turn(started)
        assert world.host_of(started.issue.workflow_id) is not None
    await attempted_now(fettle.temporal, started.child.id)
    assert (await started.ended()).phase is run.Phase.DONE
    assert world.count(wire.CLAIM_HOST) == 1


async def test_a_run_that_is_held_before_its_first_turn_frees_the_host_it_gets(
    fettle: Installation, world: World
) -> None:
    stop = world.stop(wire.CLAIM_HOST)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await started.hold()
    await started.child_is_held()
    stop.open.set()
    await world.called(wire.RELEASE_HOST)
    assert world.host_of(started.issue.workflow_id) is None
    await started.release()
    assert (await started.ended()).phase is run.Phase.DONE
    assert len(world.turn_requests) == 1


async def test_a_run_whose_first_turn_ends_without_a_word_waits_where_it_was(
    fettle: Installation, world: World
) -> None:
    """Nobody has told whether the forge takes work in progress."""
    world.turns[1] = deque([Turn(error=errors.AgentCrashed("exit code 1")), Turn()])
    started, stop = await in_its_first_turn(fettle, world)
    async with paused(fettle):
        stop.open.set()
        await waits_for_its_turn(started)
        assert world.host_of(started.issue.workflow_id) is not None
    await attempted_now(fettle.temporal, started.child.id)
    assert (await started.ended()).phase is run.Phase.DONE
    assert world.count(wire.CLAIM_HOST) == 1


async def test_a_held_run_frees_its_host_and_goes_on_with_its_work(fettle: Installation, world: World) -> None:
    """A hold may last for days."""
    started, stop = await in_its_first_turn(fettle, world)
    await started.hold()
    stop.open.set()
    await world.called(wire.RELEASE_HOST)
    assert world.host_of(started.issue.workflow_id) is None
    await started.release()
    assert (await started.ended()).phase is run.Phase.DONE
    assert len(world.turn_requests) == 1


async def test_a_run_that_waits_for_its_turn_is_held_at_once(fettle: Installation, world: World) -> None:
    """Who holds it does not wait for a budget first."""
    world.turns[1] = deque([Turn(limited=True), Turn()])
    started, stop = await in_its_first_turn(fettle, world)
    async with paused(fettle):
        stop.open.set()
        await world.called(wire.RELEASE_HOST)
        await started.hold()
        await started.child_is_held()
        await started.quiet(started.child.id)
        await started.release()
        assert len(world.turn_requests) == 1
    assert (await started.ended()).phase is run.Phase.DONE
    assert len(world.turn_requests) == 2


async def test_every_turn_is_given_back_to_the_pool(fettle: Installation, world: World) -> None:
    world.turns[1] = deque([Turn(error=errors.AgentCrashed("exit code 1")), Turn(cost_usd=0.25)])
    started = await fettle.start(world.issue(1))
    assert (await started.ended()).phase is run.Phase.DONE
    assert started.issue.workflow_id not in {lease.run for lease in (await turns_of(fettle)).leases}


async def test_a_cancelled_turn_is_given_back(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await started.handle.cancel()
    await started.cancelled()
    assert started.issue.workflow_id not in {lease.run for lease in (await turns_of(fettle)).leases}

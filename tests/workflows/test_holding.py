"""A hold works in every phase, and is decided in the same moment as the step it stops."""

import asyncio
import random
from collections import Counter, deque

import pytest
from temporalio import client, service

from domain import errors, refs, run, wire
from domain.policy import RepositoryPolicy
from tests.workflows import spots
from tests.workflows.installation import Installation
from tests.workflows.runs import Run
from tests.workflows.spots import SPOTS
from tests.workflows.world import PENDING, Turn, World


@pytest.mark.parametrize("name", SPOTS)
async def test_a_held_run_begins_no_further_step_and_goes_on_after_the_release(fettle: Installation, name: str) -> None:
    caught = await spots.catch(fettle, SPOTS[name])
    started, world = caught.run, caught.run.world
    held = await started.hold("wait for the release")
    assert held.hold is not None
    assert (held.hold.kind, held.hold.by, held.hold.note) == (run.HoldKind.USER, "ann", "wait for the release")
    if SPOTS[name].phase is run.Phase.IMPLEMENTING:
        await started.child_is_held()
    caught.let_go()
    await started.quiet()
    if SPOTS[name].phase is run.Phase.IMPLEMENTING and name != "verify":
        await started.quiet(f"{started.handle.id}/implement")
    if name == "queue":
        await started.quiet(refs.merge_queue_workflow_id(world.repo, "main"))
    assert world.count(SPOTS[name].next_call) == 0
    assert (await started.state()).hold == held.hold
    await started.release()
    assert (await spots.finish(caught)).phase is run.Phase.DONE
    assert world.count(SPOTS[name].next_call) >= 1
    assert world.effect_counts()["merged"] == 1


async def test_a_held_run_is_listed_as_held_and_a_second_hold_names_the_holder(fettle: Installation) -> None:
    caught = await spots.catch(fettle, SPOTS["ci"])
    await caught.run.hold("mine")
    with pytest.raises(client.WorkflowUpdateFailedError) as refused:
        await caught.run.hold("mine too")
    assert "already held by ann" in str(refused.value.cause)
    await caught.run.quiet()
    shown = (await caught.run.handle.describe()).search_attributes
    assert shown[wire.SA_HOLD] == ["user"]
    assert shown[wire.SA_NEEDS_HUMAN] == [True]
    await caught.run.handle.cancel()
    await caught.run.cancelled()


async def _too_late(started: Run) -> str | None:
    """Hold the run: None when it is held, else the words or the cleared head that the person gets."""
    try:
        state = await started.hold()
    except client.WorkflowUpdateFailedError as refused:
        return str(refused.cause)
    except service.RPCError as closed:
        return str(closed)
    return state.merge.cleared_sha or None


@pytest.mark.slow
async def test_a_hold_that_comes_with_green_ci_never_loses_to_the_merge(fettle: Installation) -> None:
    """Seeded race: either the run is held and not merged, or the merge was cleared first and the answer says so."""
    chance = random.Random(20261120)
    seen: Counter[str] = Counter()

    async def race(number: int) -> None:
        world = fettle.world()
        world.ci = PENDING
        started = await fettle.start(world.issue(number))
        await world.called(wire.POLL_CHECKS)
        world.ci = "green"
        await started.poll_now()
        await asyncio.sleep(chance.uniform(0, 0.9))
        if (words := await _too_late(started)) is not None:
            seen["too late"] += 1
            assert "has ended" in words or "already completed" in words or len(words) == 40
            assert (await started.ended()).phase is run.Phase.DONE
            return
        seen["held"] += 1
        await started.quiet()
        if world.count(wire.BUILD_CANDIDATE):
            await started.quiet(refs.merge_queue_workflow_id(world.repo, "main"))
        assert world.effect_counts()["merged"] == 0
        assert (await started.state()).hold is not None
        await started.handle.cancel()
        await started.cancelled()

    for batch in range(4):
        await asyncio.gather(*(race(10 * batch + n) for n in range(1, 6)))
    assert seen["held"] > 0
    assert seen.total() == 20


async def test_a_hold_after_the_clearance_names_the_head_and_is_void_once_that_is_merged(
    fettle: Installation, world: World
) -> None:
    stop = world.stop(wire.MERGE_CANDIDATE)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    head = (await started.state()).merge.cleared_sha
    held = await started.hold()
    assert held.merge.cleared_sha == head  # the answer never claims that the merge is stopped
    assert held.hold is not None
    stop.open.set()
    ended = await asyncio.wait_for(started.ended(), 20)
    assert ended.phase is run.Phase.DONE
    assert ended.hold is None


async def test_a_hold_after_the_clearance_stops_the_run_when_the_forge_refuses(
    fettle: Installation, world: World
) -> None:
    stop = world.stop(wire.MERGE_CANDIDATE)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await started.hold()
    world.before[wire.MERGE_CANDIDATE] = deque([errors.Refused("branch protection says no")])
    stop.open.set()
    await started.until(lambda state: not state.merge.cleared_sha)
    await started.quiet()
    state = await started.state()
    assert state.hold is not None
    assert state.hold.kind is run.HoldKind.USER
    assert world.effect_counts()["merged"] == 0
    await started.handle.cancel()
    await started.cancelled()


async def test_a_run_that_fails_while_held_ends(fettle: Installation, world: World) -> None:
    """An ending is decided: it is not held back, and does not spin."""
    world.policy = RepositoryPolicy.model_validate({"budgets": {"agent_error": 0}})
    world.turns[1] = deque([Turn(error=errors.AgentCrashed("exit code 1"))])
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await started.hold()
    stop.open.set()
    ended = await asyncio.wait_for(started.ended(), 20)
    assert ended.ending is not None
    assert ended.ending.failure_class == "agent_error"


async def test_an_issue_that_is_closed_while_held_ends_the_run(fettle: Installation) -> None:
    caught = await spots.catch(fettle, SPOTS["approval"])
    await caught.run.hold()
    caught.run.world.forge.issues[1].open = False
    await caught.run.handle.signal(wire.ISSUE_CHANGED)
    assert (await asyncio.wait_for(caught.run.ended(), 20)).phase is run.Phase.CANCELLED


async def test_a_place_that_comes_while_held_is_kept(fettle: Installation, world: World) -> None:
    """The repository counts the run as working: it must not wait for a second word."""
    world.policy = RepositoryPolicy(max_in_flight=1)
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2))
    await second.until(lambda s: s.admission_asked)
    await second.hold()
    stop.open.set()
    await first.ended()
    await second.until(lambda s: s.admitted)
    assert world.count(wire.CLAIM_HOST, str(second.issue)) == 0
    await second.release()
    assert (await second.ended()).phase is run.Phase.DONE

"""Cancel means quiescent: the run ends where it is, says so once, gives everything back, and writes nothing after."""

import asyncio
from collections import deque

import pytest

from domain import errors, intake, run, tasks, wire
from domain.policy import RepositoryPolicy
from tests.workflows import spots
from tests.workflows.installation import Installation
from tests.workflows.runs import Run, eventually
from tests.workflows.spots import SPOTS
from tests.workflows.world import World


async def told(started: Run) -> None:
    """The run has taken the cancel in: a workflow task that was begun after it is over."""

    async def taken_in() -> bool:
        asked = await started.events("WORKFLOW_EXECUTION_CANCEL_REQUESTED")
        done = [e.workflow_task_completed_event_attributes for e in await started.events("WORKFLOW_TASK_COMPLETED")]
        return bool(asked) and done[-1].started_event_id > asked[0].event_id

    await eventually(taken_in)


@pytest.mark.parametrize("name", SPOTS)
async def test_a_cancelled_run_says_so_once_and_leaves_nothing_behind(fettle: Installation, name: str) -> None:
    caught = await spots.catch(fettle, SPOTS[name])
    started, world = caught.run, caught.run.world
    await started.handle.cancel(reason="cancelled by ann: not needed")
    await told(started)
    if caught.stop and name != "turn":  # the agent hears of it; a call to the forge goes on to its end
        caught.stop.open.set()
    ended = await asyncio.wait_for(started.cancelled(), 20)
    inside, written = world.inside, list(world.effects)
    if name not in {"open", "dependencies", "ci", "approval"}:  # those only read
        assert inside == 0
    assert ended.ending == run.Ending(phase=run.Phase.CANCELLED, reason="cancelled by ann: not needed")
    assert world.effect_counts()["closed as cancelled"] == 1
    assert world.effect_counts()["merged"] == 0
    assert all(not pull.open for pull in world.forge.pulls.values())
    assert world.effect_counts()["pull closed"] == len(world.forge.pulls)
    assert "not needed" in world.forge.issues[1].status
    assert world.forge.issues[1].labels == {wire.LABEL_CANCELLED}
    assert world.live == set()
    assert world.host_of(started.handle.id) is None
    assert all(started.handle.id not in host.worktrees for host in world.hosts.values())
    caught.let_go()
    await world.until(lambda: world.inside == 0)
    if ended.admission_asked:
        await started.place_is_free()
    if name == "queue":
        await started.quiet(f"merge-queue/{world.repo}/main")
    assert world.effects == written


async def test_a_cancel_during_the_merge_tells_the_truth(fettle: Installation) -> None:
    """Ten at once: the withdrawal and the queue's last word cross in some of them."""

    async def merged(world: World) -> None:
        stop = world.stop(wire.MERGE_CANDIDATE)
        started = await fettle.start(world.issue(1))
        await stop.reached.wait()
        await started.handle.cancel(reason="too late")
        await told(started)
        stop.open.set()
        ended = await started.ended()
        assert ended.phase is run.Phase.DONE
        assert world.forge.issues[1].labels == {wire.LABEL_DONE}
        assert world.effect_counts()["merged"] == 1
        await started.place_is_free()

    await asyncio.gather(*(merged(fettle.world()) for _ in range(10)))


async def test_a_cancel_while_the_run_closes_does_not_change_its_end(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.CLOSE_RUN)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await started.handle.cancel()
    await told(started)
    stop.open.set()
    assert (await started.ended()).phase is run.Phase.DONE
    assert world.forge.issues[1].labels == {wire.LABEL_DONE}
    assert world.host_of(started.handle.id) is None


async def test_a_cancel_frees_place_and_host_although_the_forge_refuses_the_last_word(
    fettle: Installation, world: World
) -> None:
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(1))
    await stop.reached.wait()
    world.before[wire.CLOSE_RUN] = deque([errors.BadCredentials("the token has expired")])
    await started.handle.cancel()
    await started.cancelled()
    assert world.host_of(started.handle.id) is None
    await started.place_is_free()


async def test_a_waiting_run_that_is_cancelled_gives_its_turn_up(fettle: Installation, world: World) -> None:
    world.policy = RepositoryPolicy(max_in_flight=1)
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2))
    await second.until(lambda s: s.admission_asked)
    await second.handle.cancel()
    await second.cancelled()
    await second.place_is_free()
    assert (await first.place()).running == (first.handle.id,)
    stop.open.set()
    await first.ended()


async def test_a_cancelled_issue_is_picked_up_again_only_with_a_new_label(fettle: Installation, world: World) -> None:
    """The real intake, over and over: the label is the truth."""
    issue = world.issue(1)

    async def look(times: int) -> list[str]:
        found = await fettle.temporal.execute_workflow(
            wire.ISSUE_INTAKE_WORKFLOW,
            intake.IntakeRequest(repo=world.repo),
            id=f"intake/{world.repo}/{times}",
            task_queue=wire.CONTROL_QUEUE,
            result_type=tasks.IntakeResult,
        )
        return list(found.started)

    stop = world.stop(wire.RUN_AGENT)
    assert await look(1) == [str(issue)]
    await stop.reached.wait()
    assert await look(2) == []
    started = fettle.run(issue)
    await started.handle.cancel()
    await started.cancelled()
    assert await look(3) == []
    world.forge.issues[1].labels.add(wire.LABEL_TRIGGER)
    assert await look(4) == [str(issue)]
    assert (await started.ended()).phase is run.Phase.DONE

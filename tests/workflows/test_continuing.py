"""Continue-as-new on a server that suggests it after few events: no message and no work is lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from domain import fleet, merge_queue, refs, run, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows import installation
from tests.workflows.installation import Installation
from tests.workflows.runs import eventually


@pytest.fixture(scope="module")
async def fettle() -> AsyncIterator[Installation]:
    async with (
        await WorkflowEnvironment.start_local(
            **installation.server(**{"limit.historyCount.suggestContinueAsNew": 30})
        ) as env,
        installation.installed(await installation.connect(env)) as running,
    ):
        yield running


async def continued(fettle: Installation, workflow_id: str, more_than: int = 1) -> int:
    """How many executions this workflow id has, once there are more than so many: each but the first is a
    continue-as-new. Visibility lags a little behind."""

    async def executions() -> int:
        return (await fettle.temporal.count_workflows(f"WorkflowId = '{workflow_id}'")).count

    return await eventually(executions, lambda count: count > more_than)


def entity(fettle: Installation, workflow_id: str) -> WorkflowHandle[Any, Any]:
    return fettle.temporal.get_workflow_handle(workflow_id)


@pytest.mark.slow  # ten seconds and more of real waiting
async def test_runs_queue_and_admission_go_on_through_continue_as_new(fettle: Installation) -> None:
    """Six runs, two places, one branch: every run is merged once, and every place is given back."""
    world = fettle.world()
    world.policy = RepositoryPolicy(max_in_flight=2)
    runs = await asyncio.gather(*(fettle.start(world.issue(n)) for n in range(1, 7)))
    ended = await asyncio.gather(*(r.ended() for r in runs))
    assert [e.phase for e in ended] == [run.Phase.DONE] * 6
    counted = world.effect_counts()
    assert [counted[e] for e in ("claimed", "pull opened", "marked ready", "merged", "closed as done")] == [6] * 5
    for started in runs:
        await started.place_is_free()
    queue_id = refs.merge_queue_workflow_id(world.repo, "main")
    await runs[0].quiet(queue_id)
    queue: merge_queue.State = await entity(fettle, queue_id).query(wire.SNAPSHOT, result_type=merge_queue.State)
    assert (queue.merged, queue.entries, queue.current) == (6, (), None)
    for workflow_id in (runs[0].handle.id, queue_id, refs.repository_workflow_id(world.repo)):
        await continued(fettle, workflow_id)


async def test_a_gate_that_continued_as_new_is_still_approvable_for_its_head(fettle: Installation) -> None:
    world = fettle.world()
    world.mode = ApprovalMode.REVIEW_ALL
    started = await fettle.start(world.issue(1))
    await started.until(lambda s: s.hold is not None)
    for _ in range(3):
        await started.hold()
        await started.release()
    await started.approve()
    head = await started.at_gate()
    await continued(fettle, started.handle.id)
    await started.approve(head)
    assert (await started.ended()).phase is run.Phase.DONE


async def test_a_place_that_was_given_before_a_continue_as_new_is_not_forgotten(fettle: Installation) -> None:
    """The repository gives a place once: the run must know it in its next execution."""
    world = fettle.world()
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
    before = await continued(fettle, second.handle.id, 0)
    for _ in range(4):  # each look at the issue grows the history past the server's suggestion
        await second.handle.signal(wire.ISSUE_CHANGED)
        await second.quiet()
    await second.release()
    assert (await second.ended()).phase is run.Phase.DONE
    await continued(fettle, second.handle.id, before)
    assert world.count(wire.CLAIM_HOST, str(second.issue)) == 1


async def test_who_waits_for_whose_files_is_not_forgotten_and_not_asked_again(fettle: Installation) -> None:
    world = fettle.world()
    world.collisions[1, 2] = 0.5
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2))
    await second.until(lambda s: s.waits_for_files)
    place = refs.repository_workflow_id(world.repo)
    before = (await entity(fettle, place).describe()).run_id

    async def execution() -> str:
        old_news = fleet.Settings(revision=-1)  # it only grows the history
        await entity(fettle, place).signal(wire.FLEET_SETTINGS, old_news)
        return (await entity(fettle, place).describe()).run_id

    await eventually(execution, lambda found: found != before)
    assert [pair.run for pair in (await second.place()).behind(second.issue.workflow_id)] == [first.issue.workflow_id]
    stop.open.set()
    ended = await asyncio.gather(first.ended(), second.ended())
    assert [e.phase for e in ended] == [run.Phase.DONE] * 2
    assert world.count(wire.PREDICT_CONFLICTS) == 1
    order = [about for name, about in world.calls if name in {wire.CLAIM_HOST, wire.CLOSE_RUN}]
    assert order == [str(each.issue) for each in (first, first, second, second)]


@pytest.mark.slow
async def test_the_fleet_remembers_its_switches_and_its_repositories(fettle: Installation) -> None:
    world = fettle.world()
    await (await fettle.start(world.issue(1))).ended()
    handle = entity(fettle, refs.FLEET_WORKFLOW_ID)
    for paused in (True, False) * 5:
        change = fleet.Change(by="ann", paused=paused)
        state = await handle.execute_update(wire.CONFIGURE, change, result_type=fleet.FleetState)
    last = state.settings.revision
    await continued(fettle, refs.FLEET_WORKFLOW_ID)
    place = entity(fettle, refs.repository_workflow_id(world.repo))
    known = await eventually(
        lambda: place.query(wire.SNAPSHOT, result_type=fleet.RepositoryState),
        lambda s: s.settings and s.settings.revision == last,
    )
    assert known.settings.paused is False
    snapshot = await handle.query(wire.SNAPSHOT, result_type=fleet.FleetState)
    assert world.repo in snapshot.repositories
    assert (await (await fettle.start(world.issue(2))).ended()).phase is run.Phase.DONE

"""Days on a clock that skips: what a long silence costs, and who is not blocked by whom."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment

from domain import merge_queue, refs, run, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows import installation
from tests.workflows.installation import Installation


@pytest.fixture(scope="module")
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=TimeSkippingConfig(enabled=False), **installation.server(**installation.SKIPPING)
    ) as started:
        yield started


@pytest.fixture(scope="module")
async def fettle(env: WorkflowEnvironment) -> AsyncIterator[Installation]:
    async with installation.installed(env.client) as running:
        yield running


async def test_three_days_at_the_gate_cost_no_model_and_hardly_an_event(
    fettle: Installation, env: WorkflowEnvironment
) -> None:
    world = fettle.world()
    world.mode, world.judge, world.gate_poll_seconds = ApprovalMode.REVIEW_MERGE, "model", 12 * 3600
    started = await fettle.start(world.issue(1))
    head = await started.at_gate()
    began, before = await env.get_current_time(started.handle), len(await started.events())
    asked = [call for call in world.calls if call[0] != wire.WATCH_GATE]
    await env.fast_forward(started.handle, timedelta(days=3))
    await world.called(wire.WATCH_GATE, 5)
    assert await env.get_current_time(started.handle) - began >= timedelta(days=3)
    assert [call for call in world.calls if call[0] != wire.WATCH_GATE] == asked
    skips = len(await started.events("WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED"))
    assert len(await started.events()) - before <= skips + 3
    await started.approve(head)
    assert (await started.ended()).phase is run.Phase.DONE


async def test_the_place_of_a_terminated_run_is_found_and_given_on(
    fettle: Installation, env: WorkflowEnvironment
) -> None:
    """Also when nobody waited at the moment of the termination."""
    world = fettle.world()
    world.policy = RepositoryPolicy(max_in_flight=1)
    stop = world.stop(wire.RUN_AGENT)
    lost = await fettle.start(world.issue(1))
    await stop.reached.wait()
    await lost.handle.terminate("by a test")
    stop.open.set()
    second = await fettle.start(world.issue(2))
    await second.until(lambda s: s.admission_asked)
    entity = fettle.temporal.get_workflow_handle(refs.repository_workflow_id(world.repo))
    await env.fast_forward(entity, timedelta(minutes=6))
    assert (await second.ended()).phase is run.Phase.DONE


async def test_nobody_waits_for_the_files_of_a_terminated_run(fettle: Installation, env: WorkflowEnvironment) -> None:
    world = fettle.world()
    world.collisions[1, 2] = 0.5
    stop = world.stop(wire.RUN_AGENT)
    lost = await fettle.start(world.issue(1))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2))
    await second.until(lambda s: s.waits_for_files)
    await lost.handle.terminate("by a test")
    stop.open.set()
    entity = fettle.temporal.get_workflow_handle(refs.repository_workflow_id(world.repo))
    await env.fast_forward(entity, timedelta(minutes=6))
    assert (await second.ended()).phase is run.Phase.DONE


@pytest.mark.slow
async def test_a_run_that_was_terminated_in_line_holds_nobody_back(
    fettle: Installation, env: WorkflowEnvironment
) -> None:
    world = fettle.world()
    world.collisions = {(1, 2): 0.5, (2, 3): 0.5}
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1))
    await stop.reached.wait()
    lost = await fettle.start(world.issue(2))
    await lost.until(lambda s: s.waits_for_files)
    third = await fettle.start(world.issue(3))
    await third.until(lambda s: s.waits_for_files)
    await lost.handle.terminate("by a test")
    entity = fettle.temporal.get_workflow_handle(refs.repository_workflow_id(world.repo))
    await env.fast_forward(entity, timedelta(minutes=6))
    assert (await third.ended()).phase is run.Phase.DONE
    stop.open.set()
    assert (await first.ended()).phase is run.Phase.DONE


@pytest.mark.slow
async def test_a_lost_run_is_found_however_many_runs_come_and_go(
    fettle: Installation, env: WorkflowEnvironment
) -> None:
    world = fettle.world()
    world.collisions[1, 2] = 0.5
    stop = world.stop(wire.RUN_AGENT)
    lost = await fettle.start(world.issue(1))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2))
    await second.until(lambda s: s.waits_for_files)
    await lost.handle.terminate("by a test")
    stop.open.set()
    entity = fettle.temporal.get_workflow_handle(refs.repository_workflow_id(world.repo))
    for number in (3, 4, 5):
        await env.fast_forward(entity, timedelta(minutes=2))
        passing = await fettle.start(world.issue(number))
        assert (await passing.ended()).phase is run.Phase.DONE
    assert (await second.ended()).phase is run.Phase.DONE


@pytest.mark.slow
async def test_who_waits_is_compared_once_more_when_the_other_one_has_pushed(
    fettle: Installation, env: WorkflowEnvironment
) -> None:
    """A run may stand at its gate for days, and by then it is known which files it changes."""
    world = fettle.world()
    world.collisions = {(1, 2): 0.5, (1, 3): 0.5}
    world.mode = ApprovalMode.REVIEW_MERGE
    first = await fettle.start(world.issue(1))
    head = await first.at_gate()
    second = await fettle.start(world.issue(2))
    await second.until(lambda s: s.waits_for_files)
    third = await fettle.start(world.issue(3))
    await third.until(lambda s: s.waits_for_files)
    del world.collisions[1, 2]
    entity = fettle.temporal.get_workflow_handle(refs.repository_workflow_id(world.repo))
    await env.fast_forward(entity, timedelta(minutes=6))
    heads = [head, await second.at_gate()]
    await env.fast_forward(entity, timedelta(minutes=12))
    assert (await third.state()).waits_for_files
    assert [[other[-1] for other in q.others] for q in world.asked] == [["1"], ["1", "2"], ["1"], ["1"]]
    for started, seen in zip((first, second), heads, strict=True):
        await started.approve(seen)
        await started.ended()
    await third.approve(await third.at_gate())
    assert (await third.ended()).phase is run.Phase.DONE


@pytest.mark.slow
async def test_a_run_that_never_answers_does_not_block_the_branch(
    fettle: Installation, env: WorkflowEnvironment
) -> None:
    """Its workflow is open but deaf: here the fleet's entity stands in for it."""
    world = fettle.world()
    world.mode = ApprovalMode.REVIEW_MERGE
    second = await fettle.start(world.issue(2))
    head = await second.at_gate()
    world.forge.branches["fettle/deaf"] = world.forge.branches["main"]
    deaf_head = world.forge.push("fettle/deaf", {"deaf.py": "1"})
    pull = world.forge.open_pull("fettle/deaf", "main")
    entry = merge_queue.Entry(
        run=refs.FLEET_WORKFLOW_ID, pull=world.repo.pull(pull.number), head_sha=deaf_head, priority=1
    )
    queue = await fettle.temporal.start_workflow(
        wire.MERGE_QUEUE_WORKFLOW,
        merge_queue.State(repo=world.repo, branch="main"),
        id=refs.merge_queue_workflow_id(world.repo, "main"),
        task_queue=wire.CONTROL_QUEUE,
        start_signal=wire.MERGE_REQUESTED,
        start_signal_args=[entry],
    )
    await second.approve(head)
    await second.until(lambda s: s.phase is run.Phase.QUEUED)
    await env.fast_forward(queue, timedelta(minutes=3))
    assert (await second.ended()).phase is run.Phase.DONE
    assert not pull.merged

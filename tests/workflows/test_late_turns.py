"""A run that waits long for its host: its turn begins only with a place and money that are still its own."""

from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment

from domain import errors, pool, refs, roster, run, turns, wire
from domain.policy import RepositoryPolicy
from tests.workflows import installation
from tests.workflows.installation import Installation
from tests.workflows.runs import Run, eventually
from tests.workflows.world import World

NO_HOST = timedelta(minutes=30)


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=TimeSkippingConfig(enabled=False), **installation.server(**installation.SKIPPING)
    ) as started:
        yield started


@pytest.fixture
async def fettle(env: WorkflowEnvironment) -> AsyncIterator[Installation]:
    async with installation.installed(env.client) as running:
        yield running


async def turns_of(fettle: Installation) -> turns.State:
    fleet = fettle.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    state: turns.State = await fleet.query(wire.TURNS, result_type=turns.State)
    return state


async def without_a_host(fettle: Installation, world: World) -> tuple[Run, turns.State]:
    """A run that has its turn, and for half an hour no host."""
    world.before[wire.CLAIM_HOST] = deque([errors.HostFull("every slot is leased", retry_after=NO_HOST)])
    started = await fettle.start(world.issue(1))
    await world.called(wire.CLAIM_HOST)

    async def granted() -> turns.State:
        return await turns_of(fettle)

    return started, await eventually(granted, lambda s: s.leases)


async def test_a_turn_that_begins_late_is_renewed_first_and_keeps_its_grant(
    fettle: Installation, env: WorkflowEnvironment
) -> None:
    world = fettle.world()
    stop = world.stop(wire.RUN_AGENT)
    started, before = await without_a_host(fettle, world)
    await env.fast_forward(started.child, NO_HOST - timedelta(seconds=2))
    await stop.reached.wait()
    (old,), (new,) = before.leases, (await turns_of(fettle)).leases
    assert new.key == old.key
    assert new.expires_at > old.expires_at
    assert len(await started.events("MARKER_RECORDED", child=True)) == 2  # the turn was asked for twice
    stop.open.set()
    assert (await started.ended()).phase is run.Phase.DONE


@pytest.mark.slow  # seconds of real waiting
async def test_a_run_whose_turn_is_somebody_elses_by_now_leaves_its_host_and_waits(
    fettle: Installation, env: WorkflowEnvironment
) -> None:
    """Otherwise it would work beside the others, and the pool would have more turns than places."""
    world = fettle.world()
    world.policy = RepositoryPolicy(turn_seconds=60)
    fleet = fettle.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    started, before = await without_a_host(fettle, world)
    change = roster.Change(by="ann", kind=roster.Kind.EDIT, name="dev-default", given={"max_parallel": 1})
    await fleet.execute_update(wire.CHANGE_AGENTS, change)
    await env.fast_forward(fleet, timedelta(minutes=85))

    async def lost() -> turns.State:
        return await turns_of(fettle)

    await eventually(lost, lambda s: s.lapsed and not s.leases)
    other = pool.BeginTurn(run="issue/acme/other/1", repo=world.repo, issue=1, default_backend="scripted")
    taken = await fleet.execute_update(wire.TAKE_TURN, other, result_type=pool.Answer)
    await env.fast_forward(started.child, NO_HOST - timedelta(seconds=2))
    await world.called(wire.RELEASE_HOST)
    assert world.turn_requests == []
    state = await turns_of(fettle)
    assert [lease.run for lease in state.leases] == [other.run]
    ended = pool.EndTurn.failed(other, taken, error_type="finished", began=False)
    settled = {"ended": ended.model_dump(mode="json"), "cost_usd": 0.0}
    await fleet.execute_update(wire.SETTLE_TURN, settled)
    await world.called(wire.RUN_AGENT)
    assert len(world.turn_requests) == 1
    await eventually(lost, lambda s: not s.leases and not s.unwritten)
    state = await turns_of(fettle)
    own = [t for id, t in state.book.tallies.items() if id.startswith(f"run/{started.issue.workflow_id}")]
    assert [(t.turns, t.unknown_usd) for t in own] == [(1, before.leases[0].reserved_usd)]  # the scripted turn's alone
    assert state.lapsed == ()

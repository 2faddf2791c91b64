"""Turns that nobody gave back, on a clock that skips: their places and their money come back by themselves."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment

from domain import turns
from domain.roster import Kind
from tests.workflows import installation, pool_world
from tests.workflows.pool_world import Fleet
from tests.workflows.runs import eventually
from tests.workflows.test_long_waits import SKIPPING


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=TimeSkippingConfig(enabled=False), **installation.server(**SKIPPING)
    ) as started:
        yield started


@pytest.fixture
async def fleet(env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with pool_world.running(env.client, tmp_path) as started:
        yield started


async def test_the_turn_of_a_terminated_run_is_settled_at_its_reservation(
    fleet: Fleet, env: WorkflowEnvironment
) -> None:
    await fleet.agents(Kind.EDIT, "dev-default", max_parallel=2)
    lost, alive = [await fleet.taker(by_hand=True, estimate_usd=3) for _ in range(2)]
    gone = await fleet.taker(by_hand=True)
    for taker in (lost, alive):
        await taker.granted()
    assert "2 of 2 places taken" in await gone.waits()
    await lost.handle.terminate("by a test")
    await gone.handle.terminate("by a test")
    await env.fast_forward(fleet.handle, timedelta(minutes=11))

    async def found() -> turns.State:
        return await fleet.state()

    state = await eventually(found, lambda s: len(s.leases) == 1 and not s.line.waiters)
    assert [lease.run for lease in state.leases] == [alive.asked.run]
    (line,) = await fleet.store.ledger.of_run(lost.asked.run)
    assert (line.outcome, line.usd, line.reserved_usd) == (turns.LOST, None, 3)
    assert {t.unknown_usd for id, t in state.book.tallies.items() if id.startswith("day/")} == {3.0}
    await alive.ends()
    await alive.handle.result()


async def test_a_quiet_fleet_sets_no_clock(fleet: Fleet, env: WorkflowEnvironment) -> None:
    """Waiting is free: without a turn under way nothing is looked for."""
    await (await fleet.taker()).handle.result()
    await env.fast_forward(fleet.handle, timedelta(minutes=11))  # the clock of the turn that has just ended runs out
    before = await _own_events(fleet)
    await env.fast_forward(fleet.handle, timedelta(days=3))
    assert await _own_events(fleet) == before
    assert not [name for name in before if "ACTIVITY" in name]


async def _own_events(fleet: Fleet) -> list[str]:
    """Without those that the test's clock leaves."""
    found = [EventType.Name(event.event_type) async for event in fleet.handle.fetch_history_events()]
    return [name for name in found if "TIME_SKIPPING" not in name and "OPTIONS_UPDATED" not in name]

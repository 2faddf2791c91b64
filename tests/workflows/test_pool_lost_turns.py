"""Turns that nobody gave back, on a clock that skips: their places and their money come back by themselves."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.testing import ActivityEnvironment, TimeSkippingConfig, WorkflowEnvironment

from domain import pool, turns
from domain.roster import Kind
from tests.workflows import installation, pool_world
from tests.workflows.pool_world import Fleet
from tests.workflows.runs import eventually


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=TimeSkippingConfig(enabled=False), **installation.server(**installation.SKIPPING)
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
    for taker in (lost, alive):
        await taker.granted()
    gone = await fleet.taker(by_hand=True)  # only now: each asks by itself, and the third one could be the first
    assert "2 of 2 places taken" in await gone.waits()
    await lost.handle.terminate("by a test")
    await gone.handle.terminate("by a test")
    await env.fast_forward(fleet.handle, timedelta(minutes=11))

    async def found() -> turns.State:
        return await fleet.state()

    state = await eventually(found, lambda s: len(s.leases) == 1 and not s.line.waiters)
    assert [lease.run for lease in state.leases] == [alive.asked.run]
    (line,) = await fleet.store.ledger.of_run(lost.asked.run)
    assert (line.outcome, line.usd, line.reserved_usd) == (pool.LOST, None, 3)
    assert sum(t.unknown_usd for id, t in state.book.tallies.items() if id.startswith("day/")) == 3.0
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


async def lapsed(fleet: Fleet, env: WorkflowEnvironment, taker: pool_world.Taker) -> None:
    """The fleet hears nothing of the turn for longer than one can last."""
    await taker.granted()
    await env.fast_forward(fleet.handle, timedelta(minutes=85))
    await eventually(fleet.state, lambda s: s.lapsed and not s.leases)


@pytest.mark.slow  # ten seconds and more of real waiting
async def test_a_turn_that_was_taken_for_lost_and_ends_after_all_is_booked_at_what_it_cost(
    fleet: Fleet, env: WorkflowEnvironment
) -> None:
    taker = await fleet.taker(costs=(1.5,), by_hand=True, estimate_usd=3, turn_seconds=60)
    await lapsed(fleet, env, taker)
    (lost,) = await fleet.store.ledger.of_run(taker.asked.run)
    assert (lost.outcome, lost.usd) == (pool.LOST, None)
    await taker.ends()
    report = await taker.handle.result()
    assert [(s.cost_usd, s.known) for s in report.settled] == [(1.5, True)]
    (line,) = await fleet.store.ledger.of_run(taker.asked.run)
    assert (line.turn, line.outcome, line.raw_usd, line.usd) == (lost.turn, "finished", 1.5, 1.5)
    state = await fleet.state()
    assert {(t.usd, t.unknown_usd, t.turns) for t in state.book.tallies.values()} == {(1.5, 0, 1)}
    assert (state.lapsed, state.unwritten) == ((), ())


@pytest.mark.slow  # ten seconds and more of real waiting
async def test_a_turn_that_was_taken_for_lost_and_only_waited_costs_nothing_and_keeps_its_place_in_the_books(
    fleet: Fleet, env: WorkflowEnvironment
) -> None:
    """It is asked for again by its own name: nobody else may take it for an end."""
    taker = await fleet.taker(by_hand=True, estimate_usd=3, turn_seconds=60)
    await lapsed(fleet, env, taker)
    again = await fleet.take(taker.asked)
    assert [lease.key for lease in (await fleet.state()).leases] == [again.turn]

    async def lines() -> list[str]:
        return [line.turn for line in await fleet.store.ledger.of_run(taker.asked.run)]

    await eventually(lines, lambda found: not found)
    state = await eventually(fleet.state, lambda s: not s.unwritten)
    assert {t.usd for t in state.book.tallies.values()} == {0}
    await fleet.settle(pool.EndTurn.failed(taker.asked, again, error_type="finished"), 2)
    booked = {(t.usd, t.turns) for t in (await fleet.state()).book.tallies.values()}
    assert booked - {(0, 0)} == {(2, 1)}  # the hour that was skipped may have been the last of its day
    await taker.handle.terminate("by a test")


@pytest.mark.slow  # ten seconds and more of real waiting
async def test_a_lost_turn_that_never_began_is_withdrawn_when_its_run_gives_it_back(
    fleet: Fleet, env: WorkflowEnvironment
) -> None:
    taker = await fleet.taker(by_hand=True, estimate_usd=3, turn_seconds=60)
    await lapsed(fleet, env, taker)
    (granted,) = await taker.granted()
    ended = pool.EndTurn.failed(taker.asked, granted, error_type="Cancelled", began=False)
    await ActivityEnvironment().run(fleet.activities.end_turn, ended)
    state = await eventually(fleet.state, lambda s: not s.unwritten)
    assert {t.usd for t in state.book.tallies.values()} == {0}
    assert await fleet.store.ledger.of_run(taker.asked.run) == []
    await taker.handle.terminate("by a test")

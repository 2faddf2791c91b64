"""The fleet's turns on a real server: what is granted, what waits, what it costs, and what survives."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio import client, exceptions
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from domain import budget, errors, pool, roster, wire
from domain.fleet import FleetState
from domain.pool import WaitReason
from domain.roster import Kind
from tests.workflows import installation, pool_world
from tests.workflows.pool_world import Fleet
from tests.workflows.runs import eventually


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with (
        await WorkflowEnvironment.start_local(**installation.server()) as env,
        pool_world.running(await installation.connect(env), tmp_path) as started,
    ):
        yield started


@pytest.fixture
async def within_a_day(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with pool_world.within_a_day(tmp_path) as started:
        yield started


@pytest.fixture
async def short_lived(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Its fleet continues as new after a few dozen events."""
    config = installation.server(**{"limit.historyCount.suggestContinueAsNew": 60})
    async with (
        await WorkflowEnvironment.start_local(**config) as env,
        pool_world.running(await installation.connect(env), tmp_path) as started,
    ):
        yield started


async def spent_and_reserved(fleet: Fleet) -> float:
    state = await fleet.state()
    day = [tally.usd for id, tally in state.book.tallies.items() if id.startswith("day/")]
    return sum(day) + sum(lease.reserved_usd for lease in state.leases)


@pytest.mark.timeout(150)  # twenty runs of five turns each
async def test_twenty_parallel_runs_never_pass_the_day_by_more_than_one_reserved_turn(within_a_day: Fleet) -> None:
    """Every run wants four turns of one dollar, the day has ten."""
    fleet = within_a_day
    limit, price = 10.0, 1.0
    await fleet.budgets(limits={"day_usd": limit})
    takers = [await fleet.taker(costs=(price,) * 4, estimate_usd=price) for _ in range(20)]
    seen = []

    async def quiet() -> bool:
        seen.append(await spent_and_reserved(fleet))
        state = await fleet.state()
        return not state.leases and seen[-1] >= limit

    await eventually(quiet, seconds=40)
    waiting = [t for t in takers if not (await t.handle.describe()).close_time]
    said = await asyncio.gather(*(t.waits() for t in waiting))
    assert max(seen) <= limit + price
    assert seen[-1] == limit
    assert sum([len((await t.report()).settled) for t in takers]) == 10
    assert all(s.startswith("today's budget of $10.00 has") for s in said)
    await fleet.budgets(override={"usd": 5, "seconds": 3600, "by": "ann"})
    for taker in waiting:
        await taker.asks_now()

    async def all_settled() -> bool:
        return await spent_and_reserved(fleet) >= limit + 5 and not (await fleet.state()).leases

    await eventually(all_settled, seconds=40)
    assert await spent_and_reserved(fleet) == limit + 5


async def test_a_wait_leaves_no_event_in_the_run_and_one_place_in_the_fleet(fleet: Fleet) -> None:
    await fleet.agents(Kind.EDIT, "dev-default", max_parallel=1)
    holder = await fleet.taker(by_hand=True)
    await holder.granted()
    waiting = await fleet.taker()
    assert "dev-default: 1 of 1 places taken" in await waiting.waits()
    run, whole = (await waiting.handle.describe()).history_length, await fleet.length()
    for _ in range(10):
        await waiting.asks_now()
    for _ in range(20):
        with pytest.raises(client.WorkflowUpdateFailedError):
            await fleet.take(waiting.asked)
    assert (await waiting.handle.describe()).history_length == run
    assert await fleet.length() == whole
    await holder.ends()
    await holder.handle.result()
    await waiting.asks_now()
    assert (await waiting.handle.result()).granted[0].instance == "dev-default"


async def test_a_turn_costs_the_fleet_about_ten_events(fleet: Fleet) -> None:
    await (await fleet.taker()).handle.result()
    before = await fleet.length()
    for _ in range(5):
        await (await fleet.taker()).handle.result()
    assert (await fleet.length() - before) / 5 <= 12


async def test_two_workers_with_one_place_take_turns_in_the_order_of_asking(fleet: Fleet) -> None:
    await fleet.agents(Kind.EDIT, "dev-default", max_parallel=1)
    holder = await fleet.taker(by_hand=True)
    await holder.granted()
    line = []
    for _ in range(3):
        line.append(await fleet.taker(by_hand=True))
        await line[-1].waits()
    for ending, follower in zip([holder, *line], line, strict=False):
        await ending.ends()
        await ending.handle.result()
        for taker in reversed(line):
            await taker.asks_now()
        await follower.granted()
        assert [lease.run for lease in (await fleet.state()).leases] == [follower.asked.run]
    await line[-1].ends()


async def test_a_quota_stops_every_run_of_the_provider_and_each_resumes_once(fleet: Fleet) -> None:
    first = await fleet.taker(costs=(None, 1.0), by_hand=True)
    await first.granted()
    await first.ends("QuotaExhausted", retry_after_seconds=3600)
    await first.ends()
    assert "anthropic refuses turns until" in await first.waits()
    late = [await fleet.taker() for _ in range(5)]
    codex = await fleet.taker(backend="codex")
    assert (await codex.handle.result()).granted[0].provider == "openai"
    for taker in late:
        assert "anthropic refuses turns until" in await taker.waits()
    await fleet.budgets(clear_provider="anthropic")
    everybody = (first, *late)
    for taker in everybody:
        await taker.asks_now()
    reports = [await taker.handle.result() for taker in everybody]
    assert [len(r.granted) for r in reports] == [2, 1, 1, 1, 1, 1]


async def test_a_run_whose_provider_refused_resumes_by_itself_when_the_window_opens(fleet: Fleet) -> None:
    taker = await fleet.taker(costs=(None, 1.0), by_hand=True)
    await taker.granted()
    before = datetime.now(UTC)
    await taker.ends("QuotaExhausted", retry_after_seconds=3)
    await taker.granted(2)
    assert datetime.now(UTC) >= before + timedelta(seconds=3)
    await taker.ends()
    await taker.handle.result()
    assert (await fleet.state()).cool_downs.providers == {}


async def test_a_declared_fall_back_goes_on_where_the_provider_refuses(fleet: Fleet) -> None:
    first = await fleet.taker(by_hand=True)
    await first.granted()
    await first.ends("QuotaExhausted", retry_after_seconds=600)
    await first.handle.result()
    report = await (await fleet.taker(fallbacks=("gemini",))).handle.result()
    assert [(a.backend, a.provider) for a in report.granted] == [("gemini", "google")]


async def test_nobody_of_the_type_is_an_answer_and_no_wait(fleet: Fleet) -> None:
    report = await (await fleet.taker(type="planner")).handle.result()
    assert report.refused == "the pool has no agent of type 'planner': fettle agents add NAME --type planner"


async def test_both_activities_may_run_twice(fleet: Fleet) -> None:
    """A worker that is lost after the fleet has answered, and before the answer was told."""
    asked, env = fleet.ask(), ActivityEnvironment()
    env.info = dataclasses.replace(ActivityEnvironment.default_info(), workflow_run_id="r", activity_id="1", attempt=1)
    first = await env.run(fleet.activities.begin_turn, asked)
    env.info = dataclasses.replace(env.info, attempt=2)
    assert await env.run(fleet.activities.begin_turn, asked) == first
    ended = pool.EndTurn.failed(asked, first, error_type="finished", session_cost_usd=1.5)
    for attempt in (3, 4):
        env.info = dataclasses.replace(env.info, attempt=attempt)
        settled = await env.run(fleet.activities.end_turn, ended)
        assert (settled.cost_usd, settled.known) == (1.5, True)
    assert await spent_and_reserved(fleet) == 1.5
    assert len(await fleet.store.ledger.of_run(asked.run)) == 1


async def test_a_turn_that_never_began_costs_nothing_and_has_no_line(fleet: Fleet) -> None:
    asked = fleet.ask()
    answer = await ActivityEnvironment().run(fleet.activities.begin_turn, asked)
    ended = pool.EndTurn.failed(asked, answer, error_type="Cancelled", began=False)
    await ActivityEnvironment().run(fleet.activities.end_turn, ended)
    assert await spent_and_reserved(fleet) == 0
    assert await fleet.store.ledger.of_run(asked.run) == []


async def test_an_unknown_cost_is_unknown_in_the_ledger_and_reserved_in_the_budget(fleet: Fleet) -> None:
    taker = await fleet.taker(costs=(None,), estimate_usd=3)
    report = await taker.handle.result()
    assert [(s.cost_usd, s.known) for s in report.settled] == [(3, False)]
    (line,) = await fleet.store.ledger.of_run(taker.asked.run)
    assert (line.usd, line.raw_usd, line.reserved_usd) == (None, None, 3)
    assert await spent_and_reserved(fleet) == 3


async def test_experience_replaces_the_estimate(fleet: Fleet) -> None:
    await (await fleet.taker(costs=(0.5,) * 6)).handle.result()
    (granted,) = await (await fleet.taker()).granted()
    assert granted.reserved_usd == 0.5


async def test_turns_and_sums_survive_that_the_fleet_continues_as_new(short_lived: Fleet) -> None:
    """The history of an entity is cut; what it promised is not."""
    fleet = short_lived
    await fleet.agents(Kind.ADD, "sec", backend="codex", match_labels=["security"])
    began = (await fleet.handle.describe()).run_id
    asked = fleet.ask(labels=("security",))
    granted = await fleet.take(asked)
    for _ in range(12):
        await (await fleet.taker()).handle.result()

    async def cut() -> bool:
        return (await fleet.handle.describe()).run_id != began

    await eventually(cut)
    assert (await fleet.take(asked)).turn == granted.turn
    await fleet.settle(pool.EndTurn.failed(asked, granted, error_type="finished"), 2)
    assert await spent_and_reserved(fleet) == 14
    assert (await fleet.state()).pool.agent("sec") is not None


async def test_no_turn_is_lost_while_the_fleet_continues_as_new_under_load(short_lived: Fleet) -> None:
    """An update that meets the cut is asked again, and is known by its turn."""
    takers = [await short_lived.taker(costs=(1.0,) * 3) for _ in range(20)]
    reports = await asyncio.gather(*(taker.handle.result() for taker in takers))
    assert [len(r.settled) for r in reports] == [3] * 20
    keys = [answer.turn for r in reports for answer in r.granted]
    assert len(set(keys)) == 60
    assert await spent_and_reserved(short_lived) == 60
    assert (await short_lived.state()).granted == 60


async def test_changes_of_the_pool_count_for_the_next_turn_and_wrong_ones_leave_no_event(fleet: Fleet) -> None:
    made = await fleet.agents(
        Kind.ADD, "sec", backend="codex", model="big", match_labels=["security"], prompt_appendix="Look twice."
    )
    assert [a.name for a in made.agents] == ["dev-default", "reviewer-default", "sec"]
    granted = await fleet.take(fleet.ask(labels=("Security",)))
    assert (granted.instance, granted.backend, granted.model, granted.appendix) == (
        "sec",
        "codex",
        "big",
        "Look twice.",
    )
    assert (await fleet.take(fleet.ask())).instance == "dev-default"
    before = await fleet.length()
    for kind, name, given in (
        (Kind.ADD, "sec", {}),
        (Kind.EDIT, "ghost", {"model": "x"}),
        (Kind.EDIT, "sec", {"x": 1}),
    ):
        with pytest.raises(client.WorkflowUpdateFailedError) as refused:
            await fleet.agents(kind, name, **given)
        assert isinstance(refused.value.cause, exceptions.ApplicationError)
        assert refused.value.cause.type == errors.Refused.wire_type()
    assert await fleet.length() == before
    await fleet.agents(Kind.REMOVE, "sec")
    await fleet.agents(Kind.PAUSE, "dev-default")
    paused = await _refusal(fleet, fleet.ask())
    assert (paused.reason, "fettle agents resume dev-default" in paused.sentence) == (WaitReason.PAUSED, True)


async def _refusal(fleet: Fleet, asked: pool.BeginTurn) -> pool.Answer:
    with pytest.raises(client.WorkflowUpdateFailedError) as refused:
        await fleet.take(asked)
    assert isinstance(refused.value.cause, exceptions.ApplicationError)
    return pool.Answer.model_validate(refused.value.cause.details[0])


async def test_a_fleet_that_is_not_there_is_started_by_the_first_turn(fleet: Fleet) -> None:
    await fleet.handle.terminate("by a test")
    report = await (await fleet.taker()).handle.result()
    assert len(report.granted) == 1


async def test_budgets_are_set_shown_and_refused_in_words(fleet: Fleet) -> None:
    assert await fleet.budgets(limits={"run_usd": 5.0}) == budget.Limits(run_usd=5)
    with pytest.raises(client.WorkflowUpdateFailedError) as refused:
        await fleet.budgets(limits={"run_usd": -5.0})
    assert "'run_usd' is -5.0" in str(refused.value.cause)
    with pytest.raises(client.WorkflowUpdateFailedError) as refused:
        await fleet.budgets(clear_provider="anthropic")
    assert "is not left alone now" in str(refused.value.cause)


async def test_an_operator_may_ask_a_provider_again_at_once(fleet: Fleet) -> None:
    first = await fleet.taker(by_hand=True)
    await first.granted()
    await first.ends("QuotaExhausted", retry_after_seconds=3600)
    await first.handle.result()
    assert (await _refusal(fleet, fleet.ask())).reason is WaitReason.QUOTA
    await fleet.budgets(clear_provider="anthropic")
    assert (await fleet.take(fleet.ask())).verdict is pool.Verdict.GO


async def test_the_snapshot_of_the_switches_stays_small(fleet: Fleet) -> None:
    """Every run reads it when it opens."""
    for number in range(20):
        await fleet.agents(Kind.ADD, f"a{number}", prompt_appendix="x" * 4000)
    found = await fleet.handle.query(wire.SNAPSHOT, result_type=FleetState)
    assert len(found.model_dump_json()) < 2000
    assert len((await fleet.state()).pool.agents) == 22


async def test_the_configuration_makes_the_pool_until_a_person_does(fleet: Fleet) -> None:
    seed = roster.Change(by="configuration", kind=Kind.SEED, agents=(roster.Instance(name="one"),))
    await fleet.handle.execute_update(wire.CHANGE_AGENTS, seed)
    assert [a.name for a in (await fleet.state()).pool.agents] == ["one", "reviewer-default"]
    before = await fleet.length()
    with pytest.raises(client.WorkflowUpdateFailedError):
        await fleet.handle.execute_update(wire.CHANGE_AGENTS, seed)
    assert await fleet.length() == before

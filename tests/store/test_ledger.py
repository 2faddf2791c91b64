"""One line a turn: cumulative counters become what each turn added, and unknown stays unknown."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from domain import agent, ledger, pool, refs
from domain.pool import EndTurn
from store import engine, schema
from store import ledger as store_ledger

NOW = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
REPO = refs.Repository(owner="Acme", name="API")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def turn(name: str, total: float | None, **given: object) -> EndTurn:
    fields: dict[str, object] = {
        "turn": name,
        "run": "issue/Acme/API/1",
        "repo": REPO,
        "session_id": "s1",
        "session_cost_usd": total,
        "instance": "dev-default",
        "backend": "claude",
        "reserved_usd": 2.0,
    }
    return EndTurn.model_validate({**fields, **given})


async def test_a_total_that_counts_over_a_session_becomes_what_each_turn_added(store: engine.Store) -> None:
    lines = [await store.ledger.record(turn(f"t{n}", total), NOW) for n, total in enumerate([1.0, 1.5, 4.0])]
    assert [line.usd for line in lines] == [1.0, 0.5, 2.5]
    assert [line.raw_usd for line in await store.ledger.of_run("issue/Acme/API/1")] == [1.0, 1.5, 4.0]


async def test_two_sessions_count_apart(store: engine.Store) -> None:
    await store.ledger.record(turn("t1", 5), NOW)
    assert (await store.ledger.record(turn("t2", 1, session_id="s2"), NOW)).usd == 1


async def test_a_counter_that_begins_anew_is_all_of_its_turns(store: engine.Store) -> None:
    await store.ledger.record(turn("t1", 5), NOW)
    assert (await store.ledger.record(turn("t2", 3), NOW)).usd == 3


async def test_an_unknown_cost_is_held_by_the_next_total_of_its_session(store: engine.Store) -> None:
    await store.ledger.record(turn("t1", 1), NOW)
    lost = await store.ledger.record(turn("t2", None, outcome="AgentCrashed"), NOW)
    assert (lost.usd, lost.known) == (None, False)
    found = await store.ledger.record(turn("t3", 4), NOW)
    assert (found.usd, found.covers_usd) == (3, 2)
    (total,) = await store.ledger.sums(ledger.By.REPO, since=LONG_AGO)
    assert (total.usd, total.unknown_turns, total.reserved_for_unknown_usd) == (4, 1, 0)


async def test_a_turn_that_is_told_twice_has_one_line(store: engine.Store) -> None:
    first = await store.ledger.record(turn("t1", 5), NOW)
    again = await store.ledger.record(turn("t1", 9), NOW + timedelta(hours=1))
    assert again == first
    assert len(await store.ledger.of_run("issue/Acme/API/1")) == 1


async def test_a_lost_turn_that_ends_after_a_later_one_of_its_session_is_not_paid_twice(store: engine.Store) -> None:
    """The later turn's total held what the lost one had spent."""
    await store.ledger.record(turn("t1", 1.0, round=1, run_id="r"), NOW)
    await store.ledger.record(turn("t2", None, round=2, run_id="r", outcome=pool.LOST), NOW)
    await store.ledger.record(turn("t3", 4.0, round=3, run_id="r"), NOW)
    late = await store.ledger.record(turn("t2", 2.5, round=2, run_id="r", outcome="finished"), NOW)
    assert (late.usd, late.raw_usd) == (0.0, 2.5)
    (whole,) = await store.ledger.sums(ledger.By.REPO, since=LONG_AGO)
    assert (whole.usd, whole.unknown_turns, whole.reserved_for_unknown_usd) == (4.0, 0, 0.0)


async def test_a_later_turn_that_was_counted_anew_holds_nothing_of_an_earlier_one(store: engine.Store) -> None:
    await store.ledger.record(turn("t2", 1.0, round=2, run_id="r"), NOW)
    late = await store.ledger.record(turn("t1", 2.5, round=1, run_id="r"), NOW)
    assert late.usd == 2.5


async def test_a_turn_that_is_told_at_once_by_two_has_one_line(store: engine.Store) -> None:
    told = await asyncio.gather(*(store.ledger.record(turn("t1", 5), NOW) for _ in range(8)))
    (line,) = await store.ledger.of_run("issue/Acme/API/1")
    assert line.usd == 5
    assert {each.usd for each in told} == {5}


async def test_who_is_second_by_a_moment_is_told_the_line_that_is_there(
    store: engine.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own look at the session may find that very line, and the turn would be booked as if it had cost nothing."""
    looked = store_ledger._of_session

    async def late(connection: sa_asyncio.AsyncConnection, ended: EndTurn) -> tuple[float | None, float]:
        made = ledger.entry(turn("t1", 5), NOW, None, 0.0)
        await connection.execute(sa.insert(schema.ledger).values(**store_ledger._row(made)))
        return await looked(connection, ended)

    monkeypatch.setattr(store_ledger, "_of_session", late)
    assert (await store.ledger.record(turn("t1", 5), NOW)).usd == 5


async def test_everything_that_was_said_of_a_turn_comes_back(store: engine.Store) -> None:
    ended = turn(
        "t1",
        0.25,
        run_id="r1",
        issue=7,
        type="dev",
        version="2.1.3",
        model="opus",
        provider="anthropic",
        outcome="finished",
        usage=agent.Usage(input_tokens=2**40, output_tokens=7),
    )
    made = await store.ledger.record(ended, NOW)
    assert await store.ledger.of_run("issue/Acme/API/1") == [made]
    assert made.usage == agent.Usage(input_tokens=2**40, cached_tokens=None, output_tokens=7)


async def test_costs_add_up_by_repository_agent_and_day(store: engine.Store) -> None:
    web = refs.Repository(owner="acme", name="web")
    await store.ledger.record(turn("t1", 1, usage=agent.Usage(output_tokens=5)), NOW)
    await store.ledger.record(turn("t2", 3, session_id="s2", repo=web, instance="sec"), NOW + timedelta(minutes=2))
    await store.ledger.record(turn("t3", None, session_id="s3", repo=web, backend="codex"), NOW + timedelta(minutes=2))

    async def by(what: ledger.By, **given: refs.Repository) -> list[tuple[str, int, float | None, int]]:
        sums = await store.ledger.sums(what, since=LONG_AGO, **given)
        return [(s.key, s.turns, s.usd, s.unknown_turns) for s in sums]

    assert await by(ledger.By.REPO) == [("acme/web", 2, 3, 1), ("acme/api", 1, 1, 0)]
    assert await by(ledger.By.AGENT) == [("sec", 1, 3, 0), ("dev-default", 2, 1, 1)]
    assert await by(ledger.By.DAY) == [("2026-03-01", 1, 1, 0), ("2026-03-02", 2, 3, 1)]
    assert await by(ledger.By.BACKEND, repo=web) == [("claude", 1, 3, 0), ("codex", 1, None, 1)]
    (api,) = await store.ledger.sums(ledger.By.REPO, since=LONG_AGO, repo=REPO)
    assert (api.output_tokens, api.input_tokens) == (5, None)
    assert await store.ledger.sums(ledger.By.REPO, since=NOW + timedelta(days=1)) == []


async def test_experience_is_of_the_repository_or_else_of_all(store: engine.Store) -> None:
    web = refs.Repository(owner="acme", name="web")
    for n in range(ledger.ENOUGH):
        await store.ledger.record(turn(f"t{n}", n, session_id=f"s{n}", type="dev"), NOW)
    await store.ledger.record(turn("w", 50, session_id="w", repo=web, type="dev"), NOW)
    await store.ledger.record(turn("r", 70, session_id="r", type="reviewer"), NOW)
    assert sorted(await store.ledger.recent_costs(REPO, "dev", 40)) == [0, 1, 2, 3, 4]
    assert sorted(await store.ledger.recent_costs(web, "dev", 40)) == [0, 1, 2, 3, 4, 50]
    assert len(await store.ledger.recent_costs(web, "dev", 3)) == 3


@pytest.mark.parametrize("words", ["\0 zero", "\ud800 half", "x" * 500])
async def test_a_word_that_a_database_refuses_does_not_lose_the_line(store: engine.Store, words: str) -> None:
    await store.ledger.record(turn("t1", 1, version=words, outcome=words), NOW)
    assert len(await store.ledger.of_run("issue/Acme/API/1")) == 1


def lost(name: str) -> EndTurn:
    return turn(name, None, outcome=pool.LOST, session_id="", reserved_usd=3.0)


async def test_the_real_end_of_a_turn_takes_the_place_of_the_line_that_called_it_lost(store: engine.Store) -> None:
    """What it added to its session is counted as if it had never been lost."""
    await store.ledger.record(turn("t1", 1), NOW)
    await store.ledger.record(lost("t2"), NOW)
    real = await store.ledger.record(turn("t2", 2.5, outcome="finished"), NOW + timedelta(hours=1))
    assert (real.raw_usd, real.usd, real.covers_usd, real.outcome) == (2.5, 1.5, 0, "finished")
    assert (await store.ledger.record(turn("t3", 3), NOW + timedelta(hours=2))).usd == 0.5
    (total,) = await store.ledger.sums(ledger.By.REPO, since=LONG_AGO)
    assert (total.turns, total.usd, total.unknown_turns, total.reserved_for_unknown_usd) == (3, 3, 0, 0)


async def test_a_turn_that_has_ended_is_never_called_lost(store: engine.Store) -> None:
    real = await store.ledger.record(turn("t1", 1, outcome="finished"), NOW)
    assert await store.ledger.record(lost("t1"), NOW) == real
    assert await store.ledger.of_run(real.run) == [real]


async def test_only_a_line_that_calls_a_turn_lost_can_be_withdrawn(store: engine.Store) -> None:
    await store.ledger.record(lost("t1"), NOW)
    real = await store.ledger.record(turn("t2", 1, outcome="finished"), NOW)
    for name in ("t1", "t2", "t3"):
        await store.ledger.withdraw_lost(name)
    assert await store.ledger.of_run(real.run) == [real]


async def test_costs_add_up_by_kind(store: engine.Store) -> None:
    for number, kind in enumerate(("dev", "review", "triage", "review")):
        await store.ledger.record(turn(f"t{number}", 1, session_id=f"s{number}", type=kind), NOW)
    sums = await store.ledger.sums(ledger.By.KIND, since=LONG_AGO)
    assert [(s.key, s.turns) for s in sums] == [("review", 2), ("dev", 1), ("triage", 1)]

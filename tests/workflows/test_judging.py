"""Judgements of a real process on a real server: paid before they are asked for, booked after, waited for in words."""

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio import client, service, worker
from temporalio.testing import ActivityEnvironment

from activities import edge, judge_process, judging, rooms
from activities.reviewing import JudgementActivities
from domain import errors, ledger, pool, redaction, refs, tasks, wire
from integrations.agent import claude, judge
from sandbox import unconfined
from tests.workflows import installation, judge_taker, pool_world
from tests.workflows.pool_world import REPO, Fleet
from tests.workflows.runs import eventually

HEADS = tuple(letter * 40 for letter in "abcde")
PROGRAM = """#!{python}
import os, sys, time
from pathlib import Path
here = Path(__file__).parent
sys.stdin.read()
with (here / "asked").open("a") as told:
    told.write("x")
while (here / "hangs").exists():
    time.sleep(0.02)
sys.stdout.write((here / "answer.json").read_text())
sys.exit(int((here / "code").read_text()))
"""


class Forge:
    async def diff(self, repo: refs.Repository, base: str, head: str) -> str:
        return "+def f(): ...\n"


@dataclass
class Desk:
    """A judge's CLI, and runs that ask it."""

    fleet: Fleet
    folder: Path
    till: judging.Till | None

    def answers(self, cost: float | None = 0.25, *, code: int = 0, **result: Any) -> None:
        told = {"type": "result", "subtype": "success", "is_error": False, "terminal_reason": "completed"}
        told |= {"session_id": "s", "structured_output": {"summary": "Fine"}, "usage": {"output_tokens": 7}}
        told |= {} if cost is None else {"total_cost_usd": cost}
        (self.folder / "answer.json").write_text(json.dumps({**told, **result}))
        (self.folder / "code").write_text(str(code))

    @property
    def asked(self) -> int:
        """Times that the model was asked."""
        place = self.folder / "asked"
        return len(place.read_text()) if place.exists() else 0

    def activities(self) -> JudgementActivities:
        environment = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": "k"}
        settings = claude.ClaudeSettings(program=str(self.folder / "claude"))
        inner = judge_process.ConfinedRunner(
            self.folder / "state", rooms.Confinement(environment, unconfined.Unconfined())
        )
        asks = judge.ClaudeJudge(judging.MeteredRunner(inner, claude.ClaudeBackend(settings)), settings)
        return JudgementActivities(cast("Any", Forge()), asks, redaction.Redactor(frozenset()), self.till)

    async def run(self, number: int, heads: tuple[str, ...] = HEADS[:1]) -> "client.WorkflowHandle[Any, Any]":
        issue = REPO.issue(number)
        return await self.fleet.temporal.start_workflow(
            judge_taker.NAME,
            judge_taker.Work(issue=issue, heads=heads),
            id=issue.workflow_id,
            task_queue=wire.CONTROL_QUEUE,
            result_type=judge_taker.Report,
        )

    async def lines(self, number: int, count: int = 1) -> list[ledger.Entry]:
        """The run's lines in the ledger, once there are so many; nothing is reserved for it then."""

        async def look() -> list[ledger.Entry]:
            return list(await self.fleet.store.ledger.of_run(REPO.issue(number).workflow_id))

        found = await eventually(look, lambda lines: len(lines) >= count)
        await eventually(self.fleet.state, lambda s: not s.unwritten and not s.leases)
        return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "claude").write_text(PROGRAM.format(python=sys.executable))
    (tmp_path / "claude").chmod(0o755)
    async with pool_world.within_a_day(tmp_path, judge_taker.JudgeTaker) as fleet:
        desk = Desk(fleet, tmp_path, judging.till_of("claude", fleet.temporal))
        desk.answers()
        async with agents(desk):
            yield desk


def agents(desk: Desk) -> worker.Worker:
    """An agent host: it has no store."""
    return worker.Worker(
        desk.fleet.temporal,
        task_queue=wire.AGENTS_QUEUE,
        activities=[desk.activities().judge_review],
        interceptors=[edge.ErrorTranslation()],
        max_heartbeat_throttle_interval=installation.FAST_HEARTBEATS,
        default_heartbeat_throttle_interval=installation.FAST_HEARTBEATS,
    )


async def said(handle: "client.WorkflowHandle[Any, Any]") -> str:
    """The sentence of the judgement's wait, once it has been told."""

    async def look() -> str:
        pending = (await handle.describe()).raw_description.pending_activities
        return pending[0].last_failure.message if pending else ""

    return await eventually(look)


async def test_a_judgement_has_a_line_of_its_kind_and_counts_against_the_budgets(desk: Desk) -> None:
    run = await desk.run(1)
    report = await run.result()
    assert [r.summary for r in report.reviews] == ["Fine"]
    (line,) = await desk.lines(1)
    assert (line.type, line.instance, line.backend, line.provider) == ("review", "judge:claude", "claude", "anthropic")
    assert (line.usd, line.raw_usd, line.outcome, line.issue, line.usage.output_tokens) == (
        0.25,
        0.25,
        "finished",
        1,
        7,
    )
    (by_kind,) = await desk.fleet.store.ledger.sums(ledger.By.KIND, since=line.at - timedelta(days=1))
    assert (by_kind.key, by_kind.usd) == ("review", 0.25)
    state = await desk.fleet.state()
    assert {t.usd for t in state.book.tallies.values()} == {0.25}
    began = run.first_execution_run_id
    assert f"run/{run.id}@{began}" in state.book.tallies  # as the run's turns, whatever it has continued as


async def test_a_judgement_is_reserved_before_the_model_is_asked(desk: Desk) -> None:
    (desk.folder / "hangs").touch()
    run = await desk.run(2)

    async def at_work() -> bool:
        return desk.asked == 1

    await eventually(at_work)
    (lease,) = (await desk.fleet.state()).leases
    assert (lease.type, lease.reserved_usd, lease.judgement) == ("review", 2.0, True)
    (desk.folder / "hangs").unlink()
    await run.result()
    await desk.lines(2)


async def test_a_judgement_waits_for_money_in_words_and_asks_no_model(desk: Desk) -> None:
    await desk.fleet.budgets(limits={"day_usd": 0})
    run = await desk.run(3)
    assert "today's budget of $0.00 has $0.00 spent" in await said(run)
    events, whole = (await run.describe()).history_length, await desk.fleet.length()
    taker = pool_world.Taker(desk.fleet.temporal, run, desk.fleet.ask())
    await taker.asks_now()
    assert "fettle budget override" in await said(run)
    assert (await run.describe()).history_length == events
    assert await desk.fleet.length() == whole
    assert desk.asked == 0
    await desk.fleet.budgets(override={"usd": 5, "seconds": 3600, "by": "ann"})
    await taker.asks_now()
    assert len((await run.result()).reviews) == 1
    assert len(await desk.lines(3)) == 1


async def test_a_provider_that_refuses_a_judgement_is_left_alone_by_every_run(desk: Desk) -> None:
    refusal = {"is_error": True, "terminal_reason": "api_error", "api_error_type": "rate_limit"}
    desk.answers(None, code=1, structured_output=None, **refusal)
    run = await desk.run(4)

    async def refused() -> str:
        return await said(run)

    await eventually(refused, lambda words: "anthropic refuses turns until" in words)
    assert desk.asked == 1
    with pytest.raises(client.WorkflowUpdateFailedError):
        await desk.fleet.take(desk.fleet.ask())
    desk.answers()
    await desk.fleet.budgets(clear_provider="anthropic")
    await pool_world.Taker(desk.fleet.temporal, run, desk.fleet.ask()).asks_now()
    assert len((await run.result()).reviews) == 1
    outcomes = [(line.outcome, line.usd) for line in await desk.lines(4, 2)]
    assert outcomes == [("QuotaExhausted", None), ("finished", 0.25)]


@pytest.mark.slow  # seconds of real waiting
async def test_answers_of_no_use_are_paid_each_and_given_up_in_words(desk: Desk) -> None:
    """The run does not spin: neither on the model nor on the fleet."""
    desk.answers(0.1, structured_output={"blocking": 3})
    report = await (await desk.run(5)).result()
    assert "is wrong in: blocking" in report.failure
    assert desk.asked == judging.MOST_FAILED
    assert [line.usd for line in await desk.lines(5, 3)] == [0.1] * 3
    assert {line.outcome for line in await desk.lines(5, 3)} == {"JudgeFailed"}


@pytest.mark.slow  # seconds of real waiting
async def test_a_fault_of_the_host_stands_in_the_ledger_by_its_name(desk: Desk) -> None:
    (desk.folder / "state").touch()  # where the judge's directory was to be
    report = await (await desk.run(11)).result()
    assert "state" in report.failure
    assert {line.outcome for line in await desk.lines(11, judging.MOST_FAILED)} == {"NotADirectoryError"}


async def test_a_judgement_whose_cost_nobody_knows_keeps_its_reservation(desk: Desk) -> None:
    desk.answers(None)
    await (await desk.run(6)).result()
    (line,) = await desk.lines(6)
    assert (line.usd, line.reserved_usd) == (None, 2.0)
    assert {t.unknown_usd for t in (await desk.fleet.state()).book.tallies.values()} == {2.0}


@pytest.mark.slow  # seconds of real waiting
async def test_a_judgement_that_is_cancelled_is_given_back(desk: Desk) -> None:
    (desk.folder / "hangs").touch()
    run = await desk.run(7)

    async def at_work() -> bool:
        return desk.asked == 1

    await eventually(at_work)
    await run.cancel()
    with pytest.raises(client.WorkflowFailureError):
        await run.result()
    (line,) = await desk.lines(7)
    assert (line.outcome, line.usd) == ("Cancelled", None)


async def test_each_judgement_of_a_run_is_booked_and_the_next_reserves_what_they_cost(desk: Desk) -> None:
    desk.answers(0.5)
    report = await (await desk.run(8, HEADS)).result()
    assert [r.head_sha for r in report.reviews] == list(HEADS)
    assert [line.usd for line in await desk.lines(8, 5)] == [0.5] * 5
    assert len({line.turn for line in await desk.lines(8, 5)}) == 5
    (desk.folder / "hangs").touch()
    await desk.run(9)
    (lease,) = (await eventually(desk.fleet.state, lambda s: s.leases)).leases
    assert lease.reserved_usd == 0.5
    (desk.folder / "hangs").unlink()
    await desk.lines(9)


async def test_parallel_judgements_never_pass_the_day_by_more_than_one_reservation(desk: Desk) -> None:
    """Twelve want a dollar each, the day has four and a half."""
    desk.answers(1.0)
    await desk.fleet.budgets(limits={"day_usd": 4.5, "turn_usd": 1.0})
    runs = [await desk.run(100 + number) for number in range(12)]
    seen = []

    async def quiet() -> bool:
        state = await desk.fleet.state()
        day = [tally.usd for id, tally in state.book.tallies.items() if id.startswith("day/")]
        seen.append(sum(day) + sum(lease.reserved_usd for lease in state.leases))
        return not state.leases and not state.unwritten and sum(day) >= 4

    await eventually(quiet, seconds=40)
    assert max(seen) <= 4.5 + 1.0
    assert desk.asked <= 5
    for run in runs:
        with suppress(service.RPCError):  # it has ended by itself
            await run.terminate("by a test")


async def test_a_judge_that_calls_no_model_is_not_paid(desk: Desk) -> None:
    assert judging.till_of("scripted", desk.fleet.temporal) is None
    assert judging.till_of("none", desk.fleet.temporal) is None


async def test_telling_an_end_twice_books_it_once(desk: Desk) -> None:
    fleet = desk.fleet
    asked = fleet.ask(judgement=True, type="triage", backend="claude")
    granted = await fleet.take(asked)
    ended = pool.EndTurn.failed(asked, granted, error_type="finished", session_cost_usd=0.3)
    told = await asyncio.gather(
        *(fleet.handle.execute_update(wire.TELL_END, ended) for _ in range(3)), return_exceptions=True
    )
    assert any(not isinstance(one, BaseException) for one in told)
    await eventually(fleet.state, lambda s: not s.unwritten and not s.leases)
    assert {t.usd for t in (await fleet.state()).book.tallies.values()} == {0.3}
    assert len(await fleet.store.ledger.of_run(asked.run)) == 1


async def test_a_judgement_that_never_gets_an_answer_has_an_end(desk: Desk) -> None:
    """For example because every host that asks is lost: then nobody counts its failures."""
    env = ActivityEnvironment()
    asked_often = {"asked": judging.MOST_ASKED, "failed": 0}
    env.info = dataclasses.replace(ActivityEnvironment.default_info(), heartbeat_details=[asked_often])
    asked = tasks.JudgeReview(issue=REPO.issue(10), title="T", body="B", base_sha="b" * 40, head_sha="a" * 40)
    with pytest.raises(errors.Refused, match="was asked 20 times, none of them has answered"):
        await env.run(desk.activities().judge_review, asked)
    assert desk.asked == 0

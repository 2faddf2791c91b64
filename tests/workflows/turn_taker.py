"""A run reduced to its turns: it asks the pool, works as long as it is told, and gives the turn back."""

import asyncio

from pydantic import BaseModel
from temporalio import common, workflow

from activities import options
from activities.pool import PoolActivities
from domain import pool

NAME = "TurnTaker"


class Work(BaseModel):
    """`costs` has one entry a turn, None where it is unknown; with `by_hand` a turn ends when it is signalled."""

    asked: pool.BeginTurn
    costs: tuple[float | None, ...] = (1.0,)
    by_hand: bool = False


class End(BaseModel):
    """How a turn that is ended by hand ends."""

    outcome: str = "finished"
    retry_after_seconds: float | None = None


class Report(BaseModel):
    """What a taker has seen."""

    granted: list[pool.Answer] = []
    settled: list[pool.Settled] = []
    refused: str = ""


@workflow.defn(name=NAME, versioning_behavior=common.VersioningBehavior.PINNED)
class TurnTaker:
    def __init__(self) -> None:
        self._ends: list[End] = []
        self._report = Report()

    @workflow.signal
    def end(self, how: End) -> None:
        self._ends.append(how)

    @workflow.query
    def report(self) -> Report:
        return self._report

    @workflow.run
    async def run(self, work: Work) -> Report:
        total = 0.0
        for number, cost in enumerate(work.costs, start=1):
            asked = work.asked.model_copy(update={"round": number})
            answer = await workflow.execute_activity_method(
                PoolActivities.begin_turn, asked, summary="begin", **options.BEGIN_TURN
            )
            if answer.verdict is pool.Verdict.REFUSE:
                self._report.refused = answer.sentence
                break
            self._report.granted.append(answer)
            how = End()
            if work.by_hand:
                await workflow.wait_condition(lambda: bool(self._ends))
                how = self._ends.pop(0)
            total += cost or 0.0
            ended = pool.EndTurn.failed(
                asked, answer, error_type=how.outcome, retry_after_seconds=how.retry_after_seconds
            ).model_copy(update={"session_id": work.asked.run, "session_cost_usd": None if cost is None else total})
            self._report.settled.append(
                await workflow.execute_activity_method(PoolActivities.end_turn, ended, summary="end", **options.FORGE)
            )
            await asyncio.sleep(0)
        return self._report

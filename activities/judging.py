"""A judgement by a model, paid like a turn: reserved in the fleet before the model is asked, booked after it.

The hosts that ask models cannot write the cost ledger. They tell the fleet how a judgement ended, and it writes the
line. A judgement that has to wait is an error that is retried, so waiting costs no event and no slot.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from temporalio import activity, client, service
from temporalio.exceptions import ApplicationError

from activities import heartbeats
from activities import pool as fleet_calls
from domain import agent, errors, pool, refs, tasks, wire
from integrations.agent import judge, port
from sandbox import process

MOST_FAILED: Final = 3
"""Answers of no use after which a judgement is given up. To wait for money or a provider is no failure."""
MOST_ASKED: Final = 20
"""Times that a model is asked at all: also a host that is lost, and a provider that refuses, with each of them."""
_SECONDS: Final = 600.0
"""`options.JUDGE`: one attempt is over by then."""
_TELLING: Final = timedelta(seconds=20)
_CALL_NO_MODEL: Final = frozenset({"none", "scripted"})
_BEFORE_THE_MODEL: Final = frozenset(
    error.wire_type() for error in (errors.ConfigurationError, errors.TemplateFailed, errors.AgentUnavailable)
)
"""Errors that come before a model is asked: such a judgement costs nothing."""

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Case:
    """What is judged, and on whose account."""

    kind: str
    """The prompt's name; the type of its line in the ledger."""
    run: str
    repo: refs.Repository
    issue: int = 0


class _Progress(BaseModel):
    """The heartbeat of a judgement: what all attempts together did. A retry goes on counting."""

    model_config = ConfigDict(extra="ignore")

    asked: int = 0
    """Times that a model was about to be asked: each is a judgement of its own in the books."""
    failed: int = 0


@dataclass
class _Bill:
    """What the CLI of one judgement said of its cost."""

    verdict: port.Verdict | None = None


_bill: ContextVar[_Bill | None] = ContextVar("bill", default=None)
"""A judge does not say what it cost, its runner sees what the CLI printed: both run in the task of one activity."""


@dataclass(frozen=True)
class MeteredRunner:
    """A `judge.Runner` that reads the cost in what the CLI prints.

    Args:
        runner: Runs the CLI.
        backend: Reads its output. None: every cost is unknown.
    """

    runner: judge.Runner
    backend: port.AgentBackend | None

    async def __call__(
        self, make: Callable[[Path], port.Command], *, passed: tuple[str, ...], seconds: float
    ) -> judge.Exit:
        ended = await self.runner(make, passed=passed, seconds=seconds)
        bill = _bill.get()
        if bill is not None and self.backend is not None:
            events = [event for line in ended.stdout.splitlines() for event in self.backend.parse(line)]
            bill.verdict = self.backend.fold(events, ended.exit_code)
        return ended


@dataclass(frozen=True)
class Till:
    """Where the judgements of one judge are paid."""

    temporal: client.Client
    judge: str
    """Its name, which is that of the agent's CLI behind it."""

    async def reserve(self, case: Case, number: int) -> tuple[pool.BeginTurn, pool.Answer]:
        """Raises errors.TurnNotYet when there is no money, or the provider refuses, and errors.Refused."""
        asked = pool.BeginTurn(
            run=case.run,
            run_id=await self._first_run_id(),
            round=number,
            repo=case.repo,
            issue=case.issue,
            type=case.kind,
            subject=f"{activity.info().activity_id}.{(activity.info().workflow_run_id or '')[-8:]}",
            backend=self.judge,
            judgement=True,
            turn_seconds=_SECONDS,
        )
        answer = await fleet_calls.take(self.temporal, asked)
        if answer.verdict is pool.Verdict.REFUSE:
            raise errors.Refused(answer.sentence)
        return asked, answer

    async def tell(self, ended: pool.EndTurn) -> None:
        """How it ended, once; an end that cannot be told is booked as lost by the fleet, at its reservation."""
        try:
            async with asyncio.timeout(_TELLING.total_seconds()):
                await fleet_calls.update(self.temporal, wire.TELL_END, ended, tasks.Nothing)
        except (client.WorkflowUpdateFailedError, service.RPCError, errors.TurnNotYet, TimeoutError) as untold:
            activity.logger.warning("the end of %s could not be told: %s", ended.turn, untold)

    async def _first_run_id(self) -> str:
        """The run's execution as its turns name it, whatever it has continued as since."""
        info = activity.info()
        described = await self.temporal.get_workflow_handle(
            info.workflow_id or "", run_id=info.workflow_run_id
        ).describe()
        return described.raw_description.workflow_execution_info.first_run_id or info.workflow_run_id or ""


def till_of(judge_name: str, temporal: client.Client) -> Till | None:
    """Where this judge's answers are paid. None: it calls no model, and costs nothing."""
    return None if judge_name in _CALL_NO_MODEL else Till(temporal, judge_name)


def preparing() -> AbstractAsyncContextManager[None]:
    """Heartbeat while a judgement is prepared; what its attempts before did stays known to the next one."""
    return heartbeats.beating(_progress())


async def ask(
    asked: judge.Judge,
    till: Till | None,
    case: Case,
    inputs: Mapping[str, object],
    answer: type[Answer],
    check: Callable[[Answer], object] = lambda _: None,
) -> Answer:
    """One judgement, to be called in an activity. `check` raises JudgeFailed on an answer that is of no use.

    Running twice is safe: what an attempt has asked and not told the end of is booked as lost, the next one asks and
    pays anew; one that only lost the fleet's answer gets the same reservation.

    Raises:
        errors.TurnNotYet: it has to wait for money or the provider; retried, not before `retry_after`.
        errors.JudgeFailed: no usable answer; final after `MOST_FAILED` of them.
    """
    progress = _progress()
    try:
        if till is None:
            found = await asked.ask(case.kind, inputs, answer, run=case.run)
        else:
            found = await _Judgement(asked, till, case, progress).paid(inputs, answer)
        check(found)
        return found
    except (errors.TurnNotYet, errors.QuotaExhausted, errors.Refused, service.RPCError):
        raise
    except Exception as failed:  # also a fault of ours: the model may have been asked, and is not asked for ever
        progress.failed += 1
        activity.heartbeat(progress)
        if progress.failed < MOST_FAILED:
            raise
        kind = failed.wire_type() if isinstance(failed, errors.FettleError) else type(failed).__name__
        raise ApplicationError(str(failed), type=kind, non_retryable=True) from failed


@dataclass
class _Judgement:
    judge: judge.Judge
    till: Till
    case: Case
    progress: _Progress
    bill: _Bill = field(default_factory=_Bill)

    async def paid(self, inputs: Mapping[str, object], answer: type[Answer]) -> Answer:
        if self.progress.asked >= MOST_ASKED:
            raise errors.Refused(
                f"'{self.case.kind}' of {self.case.run} was asked {self.progress.asked} times, none of them has "
                "answered: look at the agent hosts' logs, then retry it"
            )
        asked, granted = await self.till.reserve(self.case, self.progress.asked + 1)
        self.progress.asked += 1
        outcome = "Cancelled"
        token = _bill.set(self.bill)
        try:
            async with heartbeats.beating(self.progress):
                found = await self.judge.ask(self.case.kind, inputs, answer, run=self.case.run)
            outcome = agent.Outcome.FINISHED
            return found
        except errors.FettleError as failed:
            outcome = failed.wire_type()
            if self._provider_refuses():
                outcome = errors.QuotaExhausted.wire_type()
                raise errors.QuotaExhausted(str(failed)) from failed
            raise
        except Exception as fault:
            outcome = type(fault).__name__
            raise
        finally:
            _bill.reset(token)
            await process.uncancelled(self.till.tell(self._end(asked, granted, outcome)))

    def _provider_refuses(self) -> bool:
        verdict = self.bill.verdict
        return verdict is not None and verdict.outcome is agent.Outcome.API_ERROR and verdict.is_quota

    def _end(self, asked: pool.BeginTurn, granted: pool.Answer, outcome: str) -> pool.EndTurn:
        verdict = self.bill.verdict
        ended = pool.EndTurn.failed(
            asked,
            granted,
            error_type=outcome,
            retry_after_seconds=verdict.retry_after_seconds if verdict else None,
            session_cost_usd=verdict.cost_usd if verdict else None,
            began=outcome not in _BEFORE_THE_MODEL,
        )
        # No session is named: none goes on, so what the CLI counts is this judgement's alone.
        return ended.model_copy(update={"usage": verdict.usage if verdict else None})


def _progress() -> _Progress:
    details = activity.info().heartbeat_details
    try:
        return _Progress.model_validate(details[0]) if details else _Progress()
    except ValidationError:  # of another version
        return _Progress()

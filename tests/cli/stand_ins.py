"""Workflows with the wire names and handlers of the real ones, that stay at the state they were started with."""

import asyncio
from datetime import timedelta

from temporalio import activity, common, exceptions, workflow

from domain import decisions, errors, fleet, implement, intake, merge_queue, outcomes, run, wire

ASKED_AGAIN = "asked_again"


def _or_refuse(check: object, *given: object) -> None:
    try:
        check(*given)  # type: ignore[operator]  # one of the domain's checks
    except errors.Refused as refused:
        raise exceptions.ApplicationError(str(refused), type="Refused", non_retryable=True) from refused


@activity.defn(name=wire.POLL_CHECKS)
async def poll_checks() -> None:
    raise exceptions.ApplicationError("the forge gave no answer", type="ForgeUnavailable")


@workflow.defn(name=wire.ISSUE_WORKFLOW)
class Issue:
    @workflow.init
    def __init__(self, state: run.State) -> None:
        self._state = state

    @workflow.update(name=wire.DECIDE)
    def decide(self, decision: run.Decision) -> run.State:
        decisions.decide(self._state, decision, workflow.now())
        return self._state

    @decide.validator
    def _check_decision(self, decision: run.Decision) -> None:
        _or_refuse(decisions.check_decision, self._state, decision)

    @workflow.update(name=wire.HOLD)
    def hold(self, request: run.HoldRequest) -> run.State:
        decisions.hold(self._state, request, workflow.now())
        return self._state

    @hold.validator
    def _check_hold(self, request: run.HoldRequest) -> None:
        _or_refuse(decisions.check_hold, self._state, request)

    @workflow.update(name=wire.RELEASE)
    def release(self, request: run.HoldRequest) -> run.State:
        self._state.hold = None
        return self._state

    @release.validator
    def _check_release(self, request: run.HoldRequest) -> None:
        _or_refuse(decisions.check_release, self._state, request)

    @workflow.update(name=wire.RETRY)
    def retry(self, request: run.HoldRequest) -> run.State:
        self._state.hold = None
        return self._state

    @retry.validator
    def _check_retry(self, request: run.HoldRequest) -> None:
        _or_refuse(decisions.check_retry, self._state, request)

    @workflow.update(name=wire.EDIT)
    def edit(self, change: run.Edit) -> run.State:
        decisions.edit(self._state, change)
        return self._state

    @edit.validator
    def _check_edit(self, change: run.Edit) -> None:
        _or_refuse(decisions.check_edit, self._state, change)

    @workflow.signal(name=wire.ISSUE_CHANGED)
    def end(self) -> None:
        self._state.ending = run.Ending(phase=run.Phase.DONE, reason="merged")

    @workflow.signal(name=ASKED_AGAIN)
    def ask_again(self) -> None:
        """The round after an answer has ended with the same question."""
        self._state.answer = None
        self._state.rounds += 1

    @workflow.signal(name=wire.MERGE_ENDED)
    def merge_ended(self, ended: merge_queue.Ended) -> None:
        outcomes.after_merge(self._state, ended)

    @workflow.query(name=wire.SNAPSHOT)
    def snapshot(self) -> run.State:
        return self._state

    @workflow.run
    async def run(self, _: run.State) -> run.State:
        if self._state.phase is run.Phase.AWAITING_CI:
            polling = workflow.start_activity(
                poll_checks,
                start_to_close_timeout=timedelta(seconds=5),
                retry_policy=common.RetryPolicy(
                    initial_interval=timedelta(milliseconds=50),
                    backoff_coefficient=1000,
                    maximum_interval=timedelta(minutes=5),
                ),
            )
            await asyncio.wait([polling])
        try:
            await workflow.wait_condition(lambda: self._state.ending is not None)
        except asyncio.CancelledError:
            if "slowly" in workflow.cancellation_reason():
                await workflow.sleep(600)
            self._state.ending = run.Ending(phase=run.Phase.CANCELLED, reason=workflow.cancellation_reason())
        assert self._state.ending is not None
        self._state.move(self._state.ending.phase, workflow.now())
        self._state.closed = True
        return self._state


@workflow.defn(name=wire.IMPLEMENT_WORKFLOW)
class Implement:
    """A child of a run by its id only: it must not be listed as a run."""

    @workflow.init
    def __init__(self, state: implement.State) -> None:
        self._state = state

    @workflow.query(name=wire.SNAPSHOT)
    def snapshot(self) -> implement.State:
        return self._state

    @workflow.run
    async def run(self, _: implement.State) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn(name=wire.FLEET_WORKFLOW)
class Fleet:
    @workflow.init
    def __init__(self, state: fleet.FleetState) -> None:
        self._state = state

    @workflow.update(name=wire.CONFIGURE)
    def configure(self, change: fleet.Change) -> fleet.FleetState:
        self._state.apply(change, workflow.now())
        return self._state

    @configure.validator
    def _check(self, change: fleet.Change) -> None:
        _or_refuse(self._state.check, change)

    @workflow.query(name=wire.SNAPSHOT)
    def snapshot(self) -> fleet.FleetState:
        return self._state

    @workflow.run
    async def run(self, _: fleet.FleetState) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn(name=wire.REPOSITORY_WORKFLOW)
class Repository:
    @workflow.init
    def __init__(self, state: fleet.RepositoryState) -> None:
        self._state = state

    @workflow.query(name=wire.SNAPSHOT)
    def snapshot(self) -> fleet.RepositoryState:
        return self._state

    @workflow.run
    async def run(self, _: fleet.RepositoryState) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn(name=wire.MERGE_QUEUE_WORKFLOW)
class MergeQueue:
    @workflow.init
    def __init__(self, state: merge_queue.State) -> None:
        self._state = state

    @workflow.query(name=wire.SNAPSHOT)
    def snapshot(self) -> merge_queue.State:
        return self._state

    @workflow.run
    async def run(self, _: merge_queue.State) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn(name=wire.ISSUE_INTAKE_WORKFLOW)
class Intake:
    @workflow.run
    async def run(self, request: intake.IntakeRequest) -> str:
        return str(request.repo)


WORKFLOWS = (Issue, Implement, Fleet, Repository, MergeQueue, Intake)

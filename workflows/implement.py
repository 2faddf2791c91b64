"""One implementation round: a leased host, a worktree, agent turns, until a pushed and verified head."""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import common, exceptions, workflow

from activities import options
from activities.agent_turn import AgentTurnActivities
from activities.hosts import HostActivities
from activities.integration import IntegrationActivities
from activities.verification import VerificationActivities
from activities.worktree import WorktreeActivities
from domain import agent, errors, implement, wire, work
from domain.implement import Step
from workflows import watching


@workflow.defn(name=wire.IMPLEMENT_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class ImplementWorkflow:
    """A child of a run, id `<run id>/implement`. It returns the lease's queue, so that the run can tidy the host."""

    @workflow.init
    def __init__(self, state: implement.State) -> None:
        self._state = state
        self._steps: dict[Step, Callable[[], Awaitable[None]]] = {
            Step.AWAIT_RELEASE: self._await_release,
            Step.CLAIM_HOST: self._claim_host,
            Step.PREPARE: self._prepare,
            Step.TURN: self._turn,
            Step.INTEGRATE: self._integrate,
            Step.VERIFY: self._verify,
        }

    @workflow.signal(name=wire.HOLD_CHANGED, description="The run was held or released")
    def hold_changed(self, hold: implement.HoldSignal) -> None:
        self._state.held = hold.held

    @workflow.query(name=wire.SNAPSHOT, description="What this round knows")
    def snapshot(self) -> implement.State:
        return self._state

    @workflow.run
    async def run(self, _: implement.State) -> implement.Result:
        try:
            await self._drive()
        except (asyncio.CancelledError, exceptions.FailureError) as stop:
            await self._give_back(over=exceptions.is_cancelled_exception(stop))
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        await self._give_back(over=False)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return implement.result(self._state)

    async def _drive(self) -> None:
        while (step := implement.next_step(self._state)) is not Step.STOP:
            await watching.stop_if_cancelled()
            workflow.set_current_details(f"**{self._state.issue}** {step}, turn {self._state.turns}")
            try:
                await self._steps[step]()
            except exceptions.ActivityError as error:
                if exceptions.is_cancelled_exception(error):
                    raise
                self._absorb(step, error)

    def _absorb(self, step: Step, error: exceptions.ActivityError) -> None:
        cause = error.cause
        if isinstance(cause, exceptions.TimeoutError) and cause.type == exceptions.TimeoutType.SCHEDULE_TO_START:
            implement.after_host_loss(self._state)
        elif isinstance(cause, exceptions.ApplicationError) and cause.type == errors.UnsafeWork.wire_type():
            implement.after_unsafe_work(self._state, cause.message)
        elif isinstance(cause, exceptions.ApplicationError) and step is Step.TURN:
            implement.after_turn_error(self._state, cause.type or "", cause.message)
        else:
            kind = cause.type if isinstance(cause, exceptions.ApplicationError) else type(cause).__name__
            implement.failed(self._state, step, str(kind), watching.error_message(error))

    async def _await_release(self) -> None:
        await workflow.wait_condition(lambda: not self._state.held)

    async def _claim_host(self) -> None:
        state = self._state
        state.lease = await watching.finished(
            workflow.start_activity_method(
                HostActivities.claim_host,
                work.ClaimHost(run=state.run, backend=state.backend, avoid_host=state.lost_host),
                summary=f"a host with {state.backend}",
                **options.CLAIM_HOST,
            )
        )

    async def _prepare(self) -> None:
        state = self._state
        state.worktree = await workflow.execute_activity_method(
            WorktreeActivities.prepare_worktree,
            work.PrepareWorktree(
                run=state.run,
                repo=state.issue.repo,
                base_branch=state.base_branch,
                branch=state.branch,
                start_fresh=state.start_fresh and not state.expected_remote_sha,
            ),
            summary=f"{state.branch} on {self._queue()}",
            task_queue=self._queue(),
            **options.HOST,
        )

    async def _turn(self) -> None:
        state = self._state
        assert state.worktree is not None
        state.turns += 1
        resume = state.session is not None
        if state.session is None:
            state.session = agent.Session(backend=state.backend, id=str(workflow.uuid4()))
        result = await workflow.execute_activity_method(
            AgentTurnActivities.run_agent,
            agent.TurnRequest(
                run=state.run,
                round=state.turns,
                brief=implement.brief_for_turn(state),
                session=state.session,
                resume=resume,
                model=state.model,
                worktree=state.worktree.path,
                limits=agent.Limits(
                    silence_seconds=state.policy.silence_seconds, total_seconds=state.policy.turn_seconds
                ),
            ),
            summary=f"{state.backend} turn {state.turns}: {state.brief.reason}",
            task_queue=self._queue(),
            **options.agent_turn(state.policy.turn_seconds),
        )
        implement.after_turn(state, result)

    async def _integrate(self) -> None:
        state = self._state
        assert state.worktree is not None
        result = await workflow.execute_activity_method(
            IntegrationActivities.integrate_work,
            work.IntegrateWork(
                run=state.run,
                repo=state.issue.repo,
                base_branch=state.base_branch,
                branch=state.branch,
                worktree=state.worktree.path,
                expected_remote_sha=state.expected_remote_sha,
                commit_message=f"{state.brief.title}\n\nRefs {state.issue}",
            ),
            summary="check every commit, scan, push",
            task_queue=self._queue(),
            **options.HOST,
        )
        implement.after_integration(state, result)

    async def _verify(self) -> None:
        state = self._state
        assert state.integration is not None
        result = await workflow.execute_activity_method(
            VerificationActivities.verify_commit,
            work.VerifyCommit(
                run=state.run,
                repo=state.issue.repo,
                sha=state.integration.head_sha,
                command=state.policy.verify_command,
                timeout_seconds=state.policy.verify_timeout_seconds,
            ),
            summary=f"{state.policy.verify_command} on {state.integration.head_sha[:9]}"[:300],
            task_queue=self._queue(),
            **options.VERIFY,
        )
        implement.after_verification(state, result)

    async def _give_back(self, *, over: bool) -> None:
        """Free the slot and keep the worktree: it is a cache for the next round, unless the run is over, whose parent
        does not learn of this host. A host that is gone frees itself."""
        if self._state.lease is None:
            return
        freed = workflow.start_activity_method(
            HostActivities.release_host,
            work.ReleaseHost(run=self._state.run, remove_worktree=over),
            summary="free the slot and the disk" if over else "free the slot",
            task_queue=self._queue(),
            **options.CLEAN_UP,
        )
        try:
            try:
                await asyncio.shield(freed)
            except asyncio.CancelledError:  # it is brief, and what it frees is needed
                await freed
        except exceptions.ActivityError:
            workflow.logger.warning("host %s could not be told that its slot is free", self._state.lease.host_id)

    def _queue(self) -> str:
        assert self._state.lease is not None
        return self._state.lease.queue

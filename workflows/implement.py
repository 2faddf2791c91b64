"""One implementation round: a leased host, a worktree, agent turns, until a pushed and verified head."""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import common, exceptions, workflow

from activities import options
from activities.agent_turn import AgentTurnActivities
from activities.hosts import HostActivities
from activities.integration import IntegrationActivities
from activities.opening import OpeningActivities
from activities.pool import PoolActivities
from activities.verification import VerificationActivities
from activities.worktree import WorktreeActivities
from domain import agent, errors, implement, pool, round_outcomes, tasks, wire, work
from domain.implement import Step
from workflows import watching


@workflow.defn(name=wire.IMPLEMENT_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class ImplementWorkflow:
    """A child of a run, id `<run id>/implement`. It returns the lease's queue, so that the run can tidy the host."""

    @workflow.init
    def __init__(self, state: implement.State) -> None:
        self._state = state
        self._interrupt = False
        """A person who takes over does not wait for the end of the turn."""
        self._steps: dict[Step, Callable[[], Awaitable[None]]] = {
            Step.AWAIT_RELEASE: self._await_release,
            Step.LOOK: self._look,
            Step.RESERVE: self._reserve,
            Step.CLAIM_HOST: self._claim_host,
            Step.PREPARE: self._prepare,
            Step.HAND_OVER: self._hand_over,
            Step.AWAIT_HANDBACK: self._await_handback,
            Step.RECORD: self._record,
            Step.TURN: self._turn,
            Step.SETTLE: self._settle,
            Step.INTEGRATE: self._integrate,
            Step.VERIFY: self._verify,
        }

    @workflow.signal(name=wire.HOLD_CHANGED, description="The run was held or released")
    def hold_changed(self, hold: implement.HoldSignal) -> None:
        round_outcomes.told(self._state, hold)
        self._interrupt = hold.now and bool(hold.taken_over_by)

    @workflow.query(name=wire.SNAPSHOT, description="What this round knows")
    def snapshot(self) -> implement.State:
        return self._state

    @workflow.run
    async def run(self, _: implement.State) -> implement.Result:
        try:
            await self._drive()
        except (asyncio.CancelledError, exceptions.FailureError) as stop:
            await self._give_turn_back()
            await self._give_back(over=exceptions.is_cancelled_exception(stop))
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        await self._give_turn_back()
        await self._give_back(over=False)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return implement.result(self._state)

    async def _drive(self) -> None:
        while (step := implement.next_step(self._state)) is not Step.STOP:
            await watching.stop_if_cancelled()
            grant = self._state.grant
            warning = f"\n\n{grant.sentence}" if grant and grant.sentence else ""
            workflow.set_current_details(f"**{self._state.issue}** {step}, turn {self._state.turns}{warning}")
            try:
                await self._steps[step]()
            except exceptions.ActivityError as error:
                if exceptions.is_cancelled_exception(error):
                    raise
                self._absorb(step, error)

    def _absorb(self, step: Step, error: exceptions.ActivityError) -> None:
        cause = error.cause
        if isinstance(cause, exceptions.TimeoutError) and cause.type == exceptions.TimeoutType.SCHEDULE_TO_START:
            round_outcomes.after_host_loss(self._state, step)
        elif isinstance(cause, exceptions.ApplicationError) and cause.type == errors.LeaseLost.wire_type():
            round_outcomes.after_lease_loss(self._state, step)
        elif isinstance(cause, exceptions.ApplicationError) and cause.type == errors.UnsafeWork.wire_type():
            round_outcomes.after_unsafe_work(self._state, cause.message)
        elif isinstance(cause, exceptions.ApplicationError) and step is Step.TURN:
            wait = cause.next_retry_delay.total_seconds() if cause.next_retry_delay else None
            round_outcomes.after_turn_error(self._state, cause.type or "", cause.message, wait)
        else:
            kind = cause.type if isinstance(cause, exceptions.ApplicationError) else type(cause).__name__
            round_outcomes.failed(self._state, step, str(kind), watching.error_message(error))

    async def _await_release(self) -> None:
        """A hold may last for days: a turn that was granted and not begun is somebody else's meanwhile, and so is the
        slot of the host."""
        await self._give_turn_back()
        if implement.may_leave_host(self._state):
            await self._leave_host()
        await workflow.wait_condition(lambda: not self._state.held)

    async def _claim_host(self) -> None:
        state = self._state
        backend = state.grant.backend if state.grant else state.session.backend if state.session else state.backend
        state.lease = await watching.finished(
            workflow.start_activity_method(
                HostActivities.claim_host,
                work.ClaimHost(
                    run=state.run,
                    backend=backend,
                    least_sandbox=state.policy.sandbox_level,
                    avoid_host=state.lost_host,
                ),
                summary=f"a host with {backend}",
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
                hooks=state.policy.hooks,
                issue=str(state.issue),
                accepted=state.accepted,
            ),
            summary=f"{state.branch} on {self._queue()}",
            task_queue=self._queue(),
            **options.HOST,
        )

    async def _turn(self) -> None:
        state = self._state
        assert state.worktree is not None
        if implement.grant_is_stale(state, workflow.now()):
            state.ask_again = True
            return
        state.turns += 1
        self._interrupt = False
        state.only_here = state.only_here or not state.kept
        resume = state.session is not None
        backend = state.grant.backend if state.grant else state.backend
        if state.session is None:
            state.session = agent.Session(backend=backend, id=str(workflow.uuid4()))
        turn = workflow.start_activity_method(
            AgentTurnActivities.run_agent,
            implement.turn_request(state, state.session, resume=resume),
            summary=f"{state.grant.instance if state.grant else backend} turn {state.turns}: {state.brief.reason}",
            task_queue=self._queue(),
            **options.agent_turn(state.policy.turn_seconds),
        )
        result = await self._unless_interrupted(turn)
        if result is None:
            round_outcomes.after_interruption(state)
        else:
            round_outcomes.after_turn(state, result)

    async def _unless_interrupted(self, turn: "workflow.ActivityHandle[agent.TurnResult]") -> agent.TurnResult | None:
        """The turn's result; None when a person who takes over did not wait for it, and its agent has stopped."""
        if self._state.generation < 2:
            return await turn
        result = await watching.until(turn, lambda: self._interrupt)
        ended_well = turn.done() and not turn.cancelled() and turn.exception() is None
        return turn.result() if ended_well else result

    async def _look(self) -> None:
        """A turn costs money: before another one, the issue is read again, also when no webhook has told of it."""
        opened = await workflow.execute_activity_method(
            OpeningActivities.open_run,
            tasks.OpenRun(issue=self._state.issue),
            summary="is the issue still ours",
            task_queue=wire.CONTROL_QUEUE,
            **options.FORGE,
        )
        round_outcomes.after_look(self._state, opened.gone)

    async def _reserve(self) -> None:
        """A turn of the pool. Mostly it is there, and costs one event; waiting for a slot, a budget or a provider is a
        call that is retried without adding any."""
        asked = round_outcomes.turn_to_ask_for(self._state)
        words = f"turn {asked.round} of {asked.type}"
        try:
            answer = await workflow.execute_local_activity_method(
                PoolActivities.begin_turn, asked, summary=words, **options.AT_ONCE
            )
        except exceptions.FailureError as not_yet:  # a local activity's error comes as it is, not wrapped
            if exceptions.is_cancelled_exception(not_yet):
                raise
            if implement.may_leave_host(self._state) or (self._state.ask_again and self._state.lease is not None):
                await self._leave_host()  # who has a place in the pool may be waiting for just this host
            granted = await self._granted_later(asked, words)
            if granted is None:
                return
            answer = granted
        round_outcomes.after_grant(self._state, asked, answer, workflow.now())
        lease = self._state.lease
        if lease is not None and lease.backend_versions and answer.backend not in lease.backend_versions:
            await self._leave_host()

    async def _granted_later(self, asked: pool.BeginTurn, words: str) -> pool.Answer | None:
        """The pool's answer, however long it takes. A person does not wait for it: None when one holds the run or takes
        it over, and then it is asked again when it goes on."""
        waiting = workflow.start_activity_method(
            PoolActivities.begin_turn,
            asked,
            summary=words,
            task_queue=wire.CONTROL_QUEUE,
            **options.BEGIN_TURN,
        )
        if self._state.generation < 5:
            return await watching.finished(waiting)
        return await watching.finished_unless(waiting, lambda: self._state.held or bool(self._state.taken_over_by))

    async def _settle(self) -> None:
        state = self._state
        assert state.turn_end is not None
        await self._end_turn(state.turn_end)
        quota = state.turn_end.quota_hit
        round_outcomes.after_settlement(state)
        if quota and state.lease is not None:
            await self._leave_host()

    async def _end_turn(self, end: pool.EndTurn) -> None:
        """The ledger must have it: the quick call is repeated durably until it does."""
        words = f"turn {end.round}: {end.outcome}"
        try:
            await workflow.execute_local_activity_method(PoolActivities.end_turn, end, summary=words, **options.AT_ONCE)
        except exceptions.FailureError as failed:
            if exceptions.is_cancelled_exception(failed):
                raise
            await workflow.execute_activity_method(
                PoolActivities.end_turn, end, summary=words, task_queue=wire.CONTROL_QUEUE, **options.FORGE
            )

    async def _give_turn_back(self) -> None:
        """Settle a turn that was granted and is not going to end by itself; the pool finds what this misses when the
        run has ended."""
        state = self._state
        if state.asked is None or state.grant is None:
            return
        end = state.turn_end or round_outcomes.unfinished_turn(state.asked, state.grant, state)
        ending = asyncio.create_task(self._end_turn(end))
        try:
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:  # it is brief, and the place is needed
                await ending
        except exceptions.FailureError as error:
            workflow.logger.warning("turn %s could not be given back: %s", end.turn, error)
        round_outcomes.after_settlement(state)

    async def _hand_over(self) -> None:
        """Before a person has the worktree: what the agent left there stays the agent's. A worktree that cannot be read
        is handed over all the same, then nothing in it is taken for the person's alone."""
        await self._give_turn_back()
        state = self._state
        try:
            found = await workflow.execute_activity_method(
                IntegrationActivities.survey_worktree,
                work.SurveyWorktree(run=state.run, repo=state.issue.repo, base_branch=state.base_branch),
                summary=f"what the agent leaves to {state.taken_over_by}",
                task_queue=self._queue(),
                **options.HOST,
            )
        except exceptions.ActivityError as error:
            if not isinstance(error.cause, exceptions.ApplicationError):  # cancelled, or the host is lost
                raise
            found = work.HandedOver()
        round_outcomes.after_hand_over(state, found)

    async def _await_handback(self) -> None:
        """The worktree and the session are a person's. The lease stays: nobody else gets the disk."""
        await self._give_turn_back()
        self._state.theirs = True
        await workflow.wait_condition(lambda: not self._state.taken_over_by or self._state.held)
        self._state.theirs = False

    async def _record(self) -> None:
        """What a person changed is a commit under their name, before the agent goes on."""
        state = self._state
        assert state.worktree is not None
        assert state.handback is not None
        message = f"{state.brief.title}: work of {state.handback.by}\n\n{state.handback.note}\n\nRefs {state.issue}"
        by = state.handback.by
        round_outcomes.after_handback(state, await self._integrated(message, "record a person's work", person=by))

    async def _integrate(self) -> None:
        result = await self._integrated(
            f"{self._state.brief.title}\n\nRefs {self._state.issue}", "check every commit, scan, push"
        )
        round_outcomes.after_integration(self._state, result)

    async def _integrated(self, message: str, summary: str, *, person: str = "") -> work.Integration:
        state = self._state
        assert state.worktree is not None
        return await workflow.execute_activity_method(
            IntegrationActivities.integrate_work,
            work.IntegrateWork(
                run=state.run,
                repo=state.issue.repo,
                base_branch=state.base_branch,
                branch=state.branch,
                worktree=state.worktree.path,
                expected_remote_sha=state.expected_remote_sha,
                commit_message=message,
                policy_file=state.policy.workflow_file,
                person=person,
                handed_over=state.worktree.handed_over if person else None,
                accepted=state.accepted,
            ),
            summary=summary,
            task_queue=self._queue(),
            **options.HOST,
        )

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
                base_sha=state.integration.base_sha,
            ),
            summary=f"{state.policy.verify_command} on {state.integration.head_sha[:9]}"[:300],
            task_queue=self._queue(),
            **options.VERIFY,
        )
        round_outcomes.after_verification(state, result)

    async def _give_back(self, *, over: bool) -> None:
        """Free the slot and keep the worktree: it is a cache for the next round, unless the run is over, whose parent
        does not learn of this host. A host that is gone frees itself."""
        if self._state.lease is None:
            return
        freed = workflow.start_activity_method(
            HostActivities.release_host,
            work.ReleaseHost(
                run=self._state.run,
                remove_worktree=over and not implement.disk_is_theirs(self._state),
                hooks=self._state.policy.hooks,
            ),
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

    async def _leave_host(self) -> None:
        """Nothing is left there that is not pushed: the next claim may be answered by any host."""
        await self._give_back(over=False)
        self._state.lease = self._state.worktree = None

    def _queue(self) -> str:
        assert self._state.lease is not None
        return self._state.lease.queue

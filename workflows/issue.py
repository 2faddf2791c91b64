"""One issue, from its label to a merged change or to a clear statement of why not.

What happens next is `steps.next_step`; here every step is carried out, and every wait says what it waits for.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable

from temporalio import common, exceptions, workflow

from activities import options
from activities.admission import AdmissionActivities
from activities.closing import ClosingActivities
from activities.hosts import HostActivities
from activities.opening import OpeningActivities
from activities.pull_request import PullRequestActivities
from domain import (
    implement,
    merge_queue,
    outcomes,
    refs,
    run,
    steps,
    tasks,
    wire,
    words,
    work,
)
from domain.steps import Step
from workflows import attributes, watching
from workflows.implement import ImplementWorkflow
from workflows.issue_judging import JudgingSteps
from workflows.issue_opening import OpeningSteps


@workflow.defn(name=wire.ISSUE_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class IssueWorkflow(OpeningSteps, JudgingSteps):
    """Id `issue/<owner>/<repo>/<n>`; a start of an open run finds it, a closed one may be started again."""

    @workflow.init
    def __init__(self, state: run.State) -> None:
        super().__init__(state)
        self._written = False
        self._steps: dict[Step, Callable[[], Awaitable[None]]] = {
            Step.OPEN: self._open,
            Step.TRIAGE: self._triage,
            Step.CLAIM: self._claim,
            Step.AWAIT_DEPENDENCIES: self._await_dependencies,
            Step.AWAIT_DISPATCH: self._await_dispatch,
            Step.ADMIT: self._admit,
            Step.IMPLEMENT: self._implement,
            Step.AWAIT_ANSWER: self._await_person,
            Step.PUBLISH: self._publish,
            Step.INSPECT: self._inspect,
            Step.REVIEW: self._review,
            Step.POST_REVIEW: self._post_review,
            Step.AWAIT_CI: self._await_ci,
            Step.MARK_READY: self._mark_ready,
            Step.AWAIT_APPROVAL: self._await_approval,
            Step.MERGE: self._merge,
            Step.AWAIT_RELEASE: self._await_person,
            Step.CLOSE: self._close,
        }

    # --- the platform: cancellation, closing, draining ---

    @workflow.run
    async def run(self, _: run.State) -> run.State:
        try:
            await self._drive()
        except (asyncio.CancelledError, exceptions.FailureError) as stop:
            if not exceptions.is_cancelled_exception(stop):
                raise
            await self._cancelled()
            await workflow.wait_condition(workflow.all_handlers_finished)
            if self._state.phase is run.Phase.CANCELLED:
                raise
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._state

    async def _cancelled(self) -> None:
        """The run ends where it is. A merge that the queue was already cleared for is waited for, and told as it is;
        so is an ending that was decided before the cancel. A forge that cannot be told keeps no place and no disk."""
        state = self._state
        if state.merge.requested and state.ending is None:
            await self._leave_queue()
            if self._merge_ended and self._merge_ended.end is merge_queue.End.MERGED:
                outcomes.after_merge(state, self._merge_ended)
        if state.ending is None:
            outcomes.end(state, run.Phase.CANCELLED, workflow.cancellation_reason() or "cancelled by an operator")
        try:
            await self._write_ending()
        except exceptions.FailureError as error:
            workflow.logger.error("the end of %s could not be written: %s", state.issue, watching.error_message(error))
        await self._leave()

    # --- the story ---

    async def _drive(self) -> None:
        while (step := steps.next_step(self._state)) is not Step.STOP:
            self._step = step
            self._show(step)
            try:
                await watching.stop_if_cancelled()
                self._continue_as_new_when_due()
                if self._has_news():
                    await self._look_again()
                else:
                    await self._steps[step]()
            except exceptions.FailureError as error:
                if exceptions.is_cancelled_exception(error):
                    raise
                outcomes.stuck(self._state, step, watching.error_type(error), watching.error_message(error))
                self._stamp_hold()

    def _continue_as_new_when_due(self) -> None:
        """Between two steps nothing is in flight, and all that counts is in the state."""
        info = workflow.info()
        due = info.is_continue_as_new_suggested() or info.is_target_worker_deployment_version_changed()
        if due and not self._news and workflow.all_handlers_finished():
            workflow.continue_as_new(
                self._state, initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
            )

    async def _look_again(self) -> None:
        """The forge said that something happened to the issue: read what is true now."""
        self._news = False
        opened = await workflow.execute_activity_method(
            OpeningActivities.open_run,
            tasks.OpenRun(issue=self._state.issue),
            summary="the issue changed",
            **options.FORGE,
        )
        state = self._state
        if not opened.gone or state.ending is not None or state.merge.cleared_sha:
            return
        if state.pull is not None and state.change is not None:
            await self._look_at_pull(state.change.head_sha)
        if state.ending is None:
            outcomes.end(state, run.Phase.CANCELLED, opened.gone)

    async def _look_at_pull(self, head_sha: str) -> None:
        """An issue is also closed by the merge of its pull request: then the run is done, not cancelled."""
        try:
            facts = await workflow.execute_activity_method(
                PullRequestActivities.watch_gate,
                tasks.WatchGate(issue=self._state.issue, pull=self._pull(), head_sha=head_sha),
                summary="what became of the pull request",
                **options.FORGE,
            )
        except exceptions.ActivityError as error:
            if not watching.ran_out(error):
                raise
        else:
            outcomes.absorb(self._state, facts)

    async def _implement(self) -> None:
        """One round in a child. Whatever leaves this step early stops the child and waits until it is quiescent: a
        child that is left behind would be terminated with its agent at work. So is one that is just being started."""
        state = self._state
        given = outcomes.round_input(state, workflow.info().first_execution_run_id)
        starting = asyncio.create_task(
            workflow.start_child_workflow(
                ImplementWorkflow.run,
                given,
                id=refs.round_id(state.issue.workflow_id),
                static_summary=f"{state.issue} {state.order.reason if state.order else ''}: {state.title}"[:200],
                search_attributes=attributes.of_child("implement", str(state.issue.repo), state.backend),
            )
        )
        try:
            await self._follow(await asyncio.shield(starting), given)
        except (asyncio.CancelledError, exceptions.FailureError):
            child = await starting
            child.cancel()
            (done,) = await asyncio.gather(child, return_exceptions=True)
            if isinstance(done, implement.Result):  # it had ended before it heard of the cancel: its disk is known
                state.host = done.host or state.host
            raise

    async def _follow(
        self, child: workflow.ChildWorkflowHandle[ImplementWorkflow, implement.Result], given: implement.State
    ) -> None:
        """Wait for the round, which began with `given`; what people decide about the run is passed on, an ending stops
        it."""
        told = implement.HoldSignal(held=False, taken_over_by=given.taken_over_by, handback=given.handback)
        while not child.done():
            await workflow.wait_condition(functools.partial(self._round_turns, child, told))
            await watching.stop_if_cancelled()
            if self._has_news() and not child.done():
                await self._look_again()
            if (now := self._with_its_person()) != told:
                told = now
                self._show(Step.AWAIT_RELEASE)
                await self._pass_on(child, told)
            if self._state.ending is not None and not child.done():
                child.cancel()
                await asyncio.gather(child, return_exceptions=True)
                return
        try:
            outcomes.after_round(self._state, await child, workflow.now(), told=given.brief.human_note)
        except exceptions.ChildWorkflowError as error:
            if exceptions.is_cancelled_exception(error):
                outcomes.fail(self._state, "cancelled", "the implementation round was cancelled by itself")
            else:
                outcomes.fail(self._state, "agent_error", f"the implementation round failed: {error.cause or error}")

    def _with_its_person(self) -> implement.HoldSignal:
        """How the run stands with its person now, for the round."""
        state = self._state
        taken = state.hold.by if state.hold and steps.taken_over(state) else ""
        return implement.HoldSignal(
            held=steps.stands(state), taken_over_by=taken, now=self._hurry, handback=state.handback
        )

    async def _pass_on(
        self, child: workflow.ChildWorkflowHandle[ImplementWorkflow, implement.Result], word: implement.HoldSignal
    ) -> None:
        if child.done():
            return
        try:
            await child.signal(ImplementWorkflow.hold_changed, word)
        except exceptions.ApplicationError as over:  # it ended meanwhile; its result is on the way
            workflow.logger.info("the round of %s could not be told of its person: %s", self._state.issue, over)

    def _round_turns(self, child: "asyncio.Task[implement.Result]", told: implement.HoldSignal) -> bool:
        """The round is over, or something happened that it has to be told."""
        ended = self._state.ending is not None
        stopped = ended or watching.cancelled()
        return child.done() or self._has_news() or stopped or self._with_its_person() != told

    async def _merge(self) -> None:
        """Line up and take the queue's last word. A hold withdraws the entry, unless `clear_merge` came before it."""
        state = self._state
        self._merge_ended = None
        state.merge = run.MergeState(requested=True)
        await self._line_up()
        await workflow.wait_condition(
            lambda: self._merge_ended is not None or (self._interrupted() and not state.merge.cleared_sha)
        )
        if self._merge_ended is None:
            await self._leave_queue()
        if self._merge_ended is not None:
            outcomes.after_merge(state, self._merge_ended)

    async def _line_up(self) -> None:
        """The queue is told within milliseconds, as one event; a call that fails is made durably."""
        state = self._state
        request = merge_queue.BuildCandidate(entry=outcomes.queue_entry(state), branch=state.base_branch)
        summary = f"queue {state.base_branch}"
        if state.generation >= 4:
            try:
                await workflow.execute_local_activity_method(
                    AdmissionActivities.request_merge, request, summary=summary, **options.AT_ONCE
                )
            except exceptions.FailureError as failed:
                if exceptions.is_cancelled_exception(failed):
                    raise
            else:
                return
        await workflow.execute_activity_method(
            AdmissionActivities.request_merge, request, summary=summary, **options.FORGE
        )

    async def _leave_queue(self) -> None:
        """Withdraw and wait for the queue's word: it may be that the merge was made."""
        entry = outcomes.queue_entry(self._state)
        withdrawal = merge_queue.Withdrawal(run=entry.run, head_sha=entry.head_sha, reason="held, changed or ended")
        try:
            await self._queue().signal(wire.MERGE_WITHDRAWN, withdrawal)
        except exceptions.ApplicationError as gone:  # a queue that is not running has no entry
            self._merge_ended = self._merge_ended or merge_queue.Ended(
                head_sha=entry.head_sha, end=merge_queue.End.WITHDRAWN, sentence=f"the queue is not running: {gone}"
            )
        await workflow.wait_condition(lambda: self._merge_ended is not None)

    async def _await_person(self) -> None:
        await workflow.wait_condition(self._interrupted)

    async def _close(self) -> None:
        """Tell the forge, free the place and the disk; then nothing is left to do."""
        await self._write_ending()
        await self._leave()

    async def _write_ending(self) -> None:
        """Once: a cancel that arrives while the run leaves does not write its end again."""
        state = self._state
        if self._written:
            return
        state.ending = state.ending or run.Ending(phase=run.Phase.DONE, reason="merged")
        lesson = words.learning(state, state.ending)
        await workflow.execute_activity_method(
            ClosingActivities.close_run,
            tasks.CloseRun(
                issue=state.issue,
                run=state.issue.workflow_id,
                ending=state.ending,
                status=words.ended(state, state.ending),
                branch=state.branch,
                pull=self._pull() if state.pull else None,
                base_branch=state.base_branch,
                learnings=(lesson,) if lesson else (),
            ),
            summary=f"{state.ending.phase}: {state.ending.reason}"[:300],
            **options.FORGE,
        )
        self._written = True

    async def _leave(self) -> None:
        state = self._state
        assert state.ending is not None
        await asyncio.gather(self._leave_repository(), self._tidy_host())
        state.closed = True
        state.move(state.ending.phase, workflow.now())
        self._show(Step.CLOSE)

    async def _leave_repository(self) -> None:
        in_line = self._state.leases_waived or self._state.behind  # it may have been about to ask again
        if not (self._state.admission_asked or in_line):
            return
        entity = workflow.get_external_workflow_handle(refs.repository_workflow_id(self._state.issue.repo))
        try:
            await entity.signal(wire.ADMISSION_ENDED, self._state.issue.workflow_id)
        except exceptions.FailureError as gone:  # an entity that is not there keeps no place
            workflow.logger.warning("the place in %s could not be given back: %s", self._state.issue.repo, gone)

    async def _tidy_host(self) -> None:
        """Best effort: the worktree is a cache, and a host that is gone has none."""
        if self._state.host is None:
            return
        try:
            await workflow.execute_activity_method(
                HostActivities.release_host,
                work.ReleaseHost(
                    run=self._state.issue.workflow_id,
                    remove_worktree=not self._state.disk_is_theirs,
                    hooks=self._state.policy.hooks,
                ),
                summary="remove the worktree",
                task_queue=self._state.host.queue,
                **options.CLEAN_UP,
            )
        except exceptions.ActivityError as error:
            if exceptions.is_cancelled_exception(error):
                raise
            workflow.logger.warning("the worktree on %s stays: %s", self._state.host.host_id, error)

    def _queue(self) -> workflow.ExternalWorkflowHandle[object]:
        return workflow.get_external_workflow_handle(
            refs.merge_queue_workflow_id(self._state.issue.repo, self._state.base_branch)
        )

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
        self._steps: dict[Step, Callable[[], Awaitable[None]]] = {
            Step.OPEN: self._open,
            Step.TRIAGE: self._triage,
            Step.CLAIM: self._claim,
            Step.AWAIT_DEPENDENCIES: self._await_dependencies,
            Step.AWAIT_DISPATCH: self._await_dispatch,
            Step.ADMIT: self._admit,
            Step.IMPLEMENT: self._implement,
            Step.PUBLISH: self._publish,
            Step.INSPECT: self._inspect,
            Step.REVIEW: self._review,
            Step.POST_REVIEW: self._post_review,
            Step.AWAIT_CI: self._await_ci,
            Step.MARK_READY: self._mark_ready,
            Step.AWAIT_APPROVAL: self._await_approval,
            Step.MERGE: self._merge,
            Step.AWAIT_RELEASE: self._await_release,
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
        """The run ends where it is. A merge that the queue was already cleared for is waited for, and told as it is."""
        reason = workflow.cancellation_reason() or "cancelled by an operator"
        if self._state.merge.requested and self._state.ending is None:
            await self._leave_queue()
            if self._merge_ended:
                outcomes.after_merge(self._state, self._merge_ended)
        self._state.hold = None
        if self._state.ending is None or self._state.ending.phase is not run.Phase.DONE:
            outcomes.end(self._state, run.Phase.CANCELLED, reason)
        await self._close()

    # --- the story ---

    async def _drive(self) -> None:
        while (step := steps.next_step(self._state)) is not Step.STOP:
            self._show(step)
            self._continue_as_new_when_due()
            try:
                if self._news and self._state.ending is None:
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
        if due and workflow.all_handlers_finished():
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
        if opened.gone and self._state.ending is None and not self._state.merge.cleared_sha:
            outcomes.end(self._state, run.Phase.CANCELLED, opened.gone)

    async def _implement(self) -> None:
        state = self._state
        child = await workflow.start_child_workflow(
            ImplementWorkflow.run,
            outcomes.round_input(state),
            id=f"{state.issue.workflow_id}/implement",
            static_summary=f"{state.issue} {state.order.reason if state.order else ''}: {state.title}"[:200],
            search_attributes=attributes.of_child("implement", str(state.issue.repo), state.backend),
        )
        try:
            await self._follow(child)
        except asyncio.CancelledError:
            child.cancel()
            await asyncio.gather(child, return_exceptions=True)
            raise

    async def _follow(self, child: workflow.ChildWorkflowHandle[ImplementWorkflow, implement.Result]) -> None:
        """Wait for the round; a hold is passed on, an ending stops it."""
        held = False
        while not child.done():
            await workflow.wait_condition(functools.partial(self._round_turns, child, held))
            if self._news and not child.done():
                await self._look_again()
            if steps.stands(self._state) != held:
                held = not held
                self._show(Step.AWAIT_RELEASE)
                if not child.done():
                    await child.signal(ImplementWorkflow.hold_changed, implement.HoldSignal(held=held))
            if self._state.ending is not None and not child.done():
                child.cancel()
                await asyncio.gather(child, return_exceptions=True)
                return
        try:
            outcomes.after_round(self._state, await child)
        except exceptions.ChildWorkflowError as error:
            if exceptions.is_cancelled_exception(error):
                outcomes.fail(self._state, "cancelled", "the implementation round was cancelled by itself")
            else:
                outcomes.fail(self._state, "agent_error", f"the implementation round failed: {error.cause or error}")

    def _round_turns(self, child: "asyncio.Task[implement.Result]", held: bool) -> bool:
        """The round is over, or something happened that it has to be told."""
        ended = self._state.ending is not None
        return child.done() or self._news or ended or steps.stands(self._state) != held

    async def _merge(self) -> None:
        """Line up, answer the queue's question, and take its last word. A hold withdraws the entry, unless the merge
        was cleared before: both are decided between two awaits, so exactly one of them wins."""
        state = self._state
        self._question = self._merge_ended = None
        state.merge.requested = True
        await workflow.execute_activity_method(
            AdmissionActivities.request_merge,
            merge_queue.BuildCandidate(entry=outcomes.queue_entry(state), branch=state.base_branch),
            summary=f"queue {state.base_branch}",
            **options.FORGE,
        )
        while self._merge_ended is None:
            await workflow.wait_condition(
                lambda: (
                    self._merge_ended is not None
                    or self._question is not None
                    or (self._interrupted() and not state.merge.cleared_sha)
                )
            )
            if self._question is not None:
                await self._answer(self._question)
            elif self._merge_ended is None:
                await self._leave_queue()
        outcomes.after_merge(state, self._merge_ended)

    async def _answer(self, question: merge_queue.ClearanceQuestion) -> None:
        state = self._state
        self._question = None
        against = steps.may_merge(state, question.head_sha)
        if not against:
            state.merge.cleared_sha = question.head_sha
            self._show(Step.MERGE)
        answer = merge_queue.Clearance(
            run=state.issue.workflow_id, head_sha=question.head_sha, granted=not against, reason=against
        )
        await self._queue().signal(wire.MERGE_CLEARANCE_GIVEN, answer)

    async def _leave_queue(self) -> None:
        """Withdraw and wait for the queue's word: it may be that the merge was made."""
        await self._queue().signal(
            wire.MERGE_WITHDRAWN, merge_queue.Withdrawal(run=self._state.issue.workflow_id, reason="held or ended")
        )
        await workflow.wait_condition(lambda: self._merge_ended is not None)

    async def _await_release(self) -> None:
        await workflow.wait_condition(lambda: not steps.stands(self._state) or self._state.ending is not None)

    async def _close(self) -> None:
        """Tell the forge, free the place and the disk; then nothing is left to do."""
        state = self._state
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
        await asyncio.gather(self._leave_repository(), self._tidy_host())
        state.closed = True
        state.move(state.ending.phase, workflow.now())
        self._show(Step.CLOSE)

    async def _leave_repository(self) -> None:
        if not self._state.admission_asked:
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
                work.ReleaseHost(run=self._state.issue.workflow_id),
                summary="remove the worktree",
                task_queue=self._state.host.queue,
                **options.CLEAN_UP,
            )
        except exceptions.ActivityError as error:
            workflow.logger.warning("the worktree on %s stays: %s", self._state.host.host_id, error)

    def _queue(self) -> workflow.ExternalWorkflowHandle[object]:
        return workflow.get_external_workflow_handle(
            refs.merge_queue_workflow_id(self._state.issue.repo, self._state.base_branch)
        )

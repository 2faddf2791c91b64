"""What people and other workflows say to an issue's run. Handlers record, `workflows.issue` acts."""

from collections.abc import Callable
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain import decisions, errors, fleet, implement, merge_queue, path_leases, refs, run, steps, wire, words
from domain.steps import Step
from workflows import attributes, watching

M = TypeVar("M")


class IssueMessages:
    """Updates for those who want an answer; the same verbs as signals for `temporal workflow signal`."""

    def __init__(self, state: run.State) -> None:
        self._state = state
        self._shown = attributes.Shown()
        self._news = False
        self._step = Step.OPEN
        self._merge_ended: merge_queue.Ended | None = None
        self._hurry = False
        """Who takes over does not wait for the end of the turn."""

    @workflow.update(name=wire.DECIDE, description="Approve or reject the head you saw")
    def decide(self, decision: run.Decision) -> run.State:
        decisions.decide(self._state, decision, workflow.now())
        return self._state

    @decide.validator
    def _check_decision(self, decision: run.Decision) -> None:
        _refuse(decisions.check_decision, self._state, decision)

    @workflow.update(name=wire.HOLD, description="Begin no further step until released")
    def hold(self, request: run.HoldRequest) -> run.State:
        self._hold(request)
        return self._state

    @hold.validator
    def _check_hold(self, request: run.HoldRequest) -> None:
        _refuse(decisions.check_hold, self._state, request)

    @workflow.update(name=wire.RELEASE, description="Let a held run go on")
    def release(self, request: run.HoldRequest) -> run.State:
        self._release()
        return self._state

    @release.validator
    def _check_release(self, request: run.HoldRequest) -> None:
        _refuse(decisions.check_release, self._state, request)

    @workflow.update(name=wire.TAKE_OVER, description="Give the worktree and the session to a person")
    def take_over(self, request: run.TakeoverRequest) -> run.State:
        decisions.take_over(self._state, request, workflow.now())
        self._hurry = request.now
        return self._state

    @take_over.validator
    def _check_takeover(self, request: run.TakeoverRequest) -> None:
        _refuse(decisions.check_takeover, self._state, request)

    @workflow.update(name=wire.HAND_BACK, description="Record what the person changed, and let the agent go on")
    def hand_back(self, handback: implement.Handback) -> run.State:
        decisions.hand_back(self._state, handback)
        self._hurry = False
        return self._state

    @hand_back.validator
    def _check_handback(self, handback: implement.Handback) -> None:
        _refuse(decisions.check_handback, self._state, handback)

    @workflow.update(name=wire.RETRY, description="Try the step again that a run is stuck at, with fresh retry budgets")
    def retry(self, request: run.HoldRequest) -> run.State:
        self._state.hold = None
        self._state.used = run.Used()
        self._state.merge_attempts = 0
        return self._state

    @retry.validator
    def _check_retry(self, request: run.HoldRequest) -> None:
        _refuse(decisions.check_retry, self._state, request)

    @workflow.update(name=wire.EDIT, description="Change prompt, model, agent or priority from the next turn on")
    def edit(self, change: run.Edit) -> run.State:
        decisions.edit(self._state, change)
        return self._state

    @edit.validator
    def _check_edit(self, change: run.Edit) -> None:
        _refuse(decisions.check_edit, self._state, change)

    @workflow.signal(name=wire.SIGNAL_APPROVE, description='{"by", "head_sha", "note"}: approve the head you saw')
    def approve_by_signal(self, decision: run.Decision) -> None:
        if self._accepts(decisions.check_decision, decision):
            decisions.decide(self._state, decision, workflow.now())

    @workflow.signal(name=wire.SIGNAL_REJECT, description='{"by", "head_sha", "note"}: end the run without a merge')
    def reject_by_signal(self, decision: run.Decision) -> None:
        refusal = decision.model_copy(update={"approve": False})
        if self._accepts(decisions.check_decision, refusal):
            decisions.decide(self._state, refusal, workflow.now())

    @workflow.signal(name=wire.SIGNAL_HOLD, description='{"by", "note"}: begin no further step')
    def hold_by_signal(self, request: run.HoldRequest) -> None:
        if self._accepts(decisions.check_hold, request):
            self._hold(request)

    @workflow.signal(name=wire.SIGNAL_RELEASE, description='{"by", "note"}: let a held run go on')
    def release_by_signal(self, request: run.HoldRequest) -> None:
        if self._accepts(decisions.check_release, request):
            self._release()

    def _hold(self, request: run.HoldRequest) -> None:
        decisions.hold(self._state, request, workflow.now())
        self._show_during_merge()

    def _release(self) -> None:
        decisions.release(self._state)
        self._show_during_merge()

    def _show_during_merge(self) -> None:
        """Elsewhere the next step shows it at once; a cleared merge goes on until the queue has the last word."""
        if self._state.merge.cleared_sha:
            self._show(Step.MERGE)

    def _accepts(self, check: Callable[[run.State, M], None], message: M) -> bool:
        """A signal has nobody to answer: a refusal stands in the card and in the log."""
        try:
            check(self._state, message)
        except errors.Refused as refused:
            workflow.logger.warning("refused a signal: %s", refused)
            self._state.refused = str(refused)
            return False
        return True

    @workflow.signal(name=wire.ISSUE_CHANGED, description="Something happened to the issue: look again")
    def issue_changed(self) -> None:
        self._news = True

    @workflow.signal(name=wire.ADMITTED, description="The repository has a place for this run")
    def admitted(self, settings: fleet.Settings) -> None:
        self._state.admitted = True

    @workflow.signal(name=wire.ADMISSION_WAITS, description="For whose files this run waits, before it gets a place")
    def admission_waits(self, wait: path_leases.Wait) -> None:
        self._state.behind = wait.behind
        if self._step is Step.ADMIT:
            self._show(Step.ADMIT)

    @workflow.update(name=wire.CLEAR_MERGE, description="The queue asks whether this head may merge now")
    def clear_merge(self, question: merge_queue.ClearanceQuestion) -> merge_queue.Clearance:
        """Decided here, between two awaits of the run: a hold, a new head or a cancel that arrived before wins, and one
        that arrives later finds the merge cleared: it stops what comes after, should the merge not be made."""
        against = "it is being cancelled" if watching.cancelled() else steps.may_merge(self._state, question.head_sha)
        if not against:
            self._state.merge.cleared_sha = question.head_sha
            self._show(Step.MERGE)
        return merge_queue.Clearance(granted=not against, reason=against)

    @workflow.signal(name=wire.MERGE_ENDED, description="The queue's last word on an entry")
    def merge_ended(self, ended: merge_queue.Ended) -> None:
        head = self._state.change.head_sha if self._state.change else ""
        if ended.head_sha == head and self._merge_ended is None:  # anything else is about an entry of the past
            self._merge_ended = ended

    @workflow.query(name=wire.SNAPSHOT, description="Everything this run knows")
    def snapshot(self) -> run.State:
        return self._state

    # --- what every step shows and asks ---

    def _show(self, step: Step) -> None:
        state = self._state
        state.move(steps.phase_of(state, step), workflow.now())
        state.hold = steps.shown_hold(state, step)
        self._stamp_hold()
        workflow.set_current_details(words.card(state, step.value))
        self._shown.tell(
            phase=state.phase, hold=state.hold_label(), agent=state.backend, needs_human=state.hold is not None
        )

    def _stamp_hold(self) -> None:
        if self._state.hold and self._state.hold.since is None:
            self._state.hold.since = workflow.now()

    def _interrupted(self) -> bool:
        """What ends a wait: another step is due (an answer, a hold, an ending, an edit), news, or a cancel."""
        due = steps.next_step(self._state) is not self._step
        return due or self._has_news() or watching.cancelled()

    def _has_news(self) -> bool:
        """An ending is not looked at again."""
        return self._news and self._state.ending is None

    def _pull(self) -> refs.PullRequest:
        assert self._state.pull is not None
        return self._state.issue.repo.pull(self._state.pull.number)


def _refuse(check: Callable[[run.State, M], None], state: run.State, message: M) -> None:
    """The domain's sentence and type reach the caller as they are; nothing of a refusal is written to the history."""
    try:
        check(state, message)
    except errors.Refused as refused:
        raise ApplicationError(str(refused), type=refused.wire_type(), non_retryable=True) from None

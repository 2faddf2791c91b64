"""What people decide about a run: who may, when, and about which commit. Checks refuse before anything is recorded."""

from datetime import datetime

from domain import errors, outcomes, steps
from domain.agent import Answer
from domain.implement import Handback
from domain.run import (
    Approval,
    Decision,
    Edit,
    Hold,
    HoldKind,
    HoldRequest,
    Phase,
    Reason,
    State,
    TakeoverRequest,
    WorkOrder,
)


def check_decision(state: State, decision: Decision) -> None:
    """Refuse a decision that is about another commit, or that nothing waits for.

    Raises:
        errors.Refused: with both facts and the next command.
    """
    _check_running(state)
    step = _due_but_for_a_hold(state)
    if decision.action or (step is steps.Step.AWAIT_ANSWER and decision.approve):
        _check_answer(state, decision)
        return
    if step is steps.Step.AWAIT_DISPATCH or (not decision.approve and state.change is None):
        return
    if state.change is None:
        raise errors.Refused(
            f"{state.issue} has nothing to approve yet: it is {state.phase}; see fettle explain {state.issue}"
        )
    head = state.change.head_sha
    if not decision.head_sha or len(decision.head_sha) < 7:
        raise errors.Refused(f"an approval names the commit you reviewed: the head of {state.issue} is {head}")
    if not head.startswith(decision.head_sha.lower()):
        raise errors.Refused(
            f"{state.issue} was judged at {decision.head_sha}, its head is now {head}: review the new head, then decide"
        )
    if state.merge.cleared_sha:
        if decision.approve:
            return  # approving twice is one approval
        raise errors.Refused(
            f"the merge of {state.merge.cleared_sha} is under way: {state.issue} can no longer be rejected; "
            f"see fettle explain {state.issue}"
        )
    at_gate = step in {steps.Step.AWAIT_APPROVAL, steps.Step.MERGE}
    if decision.approve and not at_gate and not state.change.approval:
        raise errors.Refused(
            f"{state.issue} is {state.phase}, not at its merge gate: approve when review and CI are done "
            f"(fettle explain {state.issue})"
        )


def _check_answer(state: State, decision: Decision) -> None:
    asked = state.question.id if state.question and state.answer is None else ""
    if asked and not decision.action:
        raise errors.Refused(
            f"{state.issue} waits for an answer to action {asked}, the decision names none: "
            f"fettle approve {state.issue} --action {asked} (or reject)"
        )
    if decision.action != asked:
        what = f"asks about action {asked}" if asked else f"asks about no action, it is {state.phase}"
        raise errors.Refused(
            f"{state.issue} {what}, the decision is about {decision.action}: see fettle explain {state.issue}"
        )


def decide(state: State, decision: Decision, at: datetime) -> None:
    """Record a decision that `check_decision` let through."""
    if decision.action:
        state.answer = Answer(question_id=decision.action, allow=decision.approve, by=decision.by, note=decision.note)
        state.order = state.order or WorkOrder(reason=Reason.ANSWER)
        if state.hold and state.hold.kind is HoldKind.ACTION_APPROVAL:
            state.hold = None
        return
    if not decision.approve:
        note = f": {decision.note}" if decision.note else ""
        outcomes.end(state, Phase.REJECTED, f"rejected by {decision.by}{note}")
        state.hold = None
        return
    approval = Approval(
        by=decision.by, head_sha=state.change.head_sha if state.change else "", note=decision.note, at=at
    )
    if state.change is None or steps.next_step(state) is steps.Step.AWAIT_DISPATCH:
        state.dispatch_approval = state.dispatch_approval or approval
    else:
        state.change.approval = state.change.approval or approval
    if state.hold and state.hold.kind in {HoldKind.DISPATCH_APPROVAL, HoldKind.MERGE_APPROVAL}:
        state.hold = None


def check_hold(state: State, request: HoldRequest) -> None:
    """Raises errors.Refused when the run has ended, or when it is held already. A hold after the merge was cleared is
    taken: it stops the run if that merge is not made, and is void if it is (`State.merge.cleared_sha` tells)."""
    _check_running(state)
    if steps.taken_over(state):
        raise errors.Refused(
            f"{state.issue} is taken over, which stops it already: fettle handback {state.issue} lets it go on"
        )
    if state.hold and steps.stands(state):
        raise errors.Refused(
            f"{state.issue} is already held by {state.hold.by} ({state.hold.kind}): fettle release {state.issue} first"
        )


def hold(state: State, request: HoldRequest, at: datetime) -> None:
    state.hold = Hold(kind=HoldKind.USER, by=request.by, note=request.note, since=at)


def check_takeover(state: State, request: TakeoverRequest) -> None:
    """Raises errors.Refused when there is no worktree to take, when the run is ending or merging, or when somebody has
    it already. Who has asked for it may ask again not to wait for the turn."""
    _check_running(state)
    if steps.taken_over(state):
        by = state.hold.by if state.hold else "somebody"
        if request.now and request.by == by:
            return
        raise errors.Refused(f"{state.issue} is taken over by {by} already: fettle handback {state.issue} first")
    if steps.stands(state):
        raise errors.Refused(f"{state.issue} is held: fettle release {state.issue}, then take it over")
    if state.generation < 2:
        raise errors.Refused(f"{state.issue} was started by an older release that knows no takeover: let it end")
    if not state.admitted:
        raise errors.Refused(
            f"{state.issue} is {state.phase} and has no worktree yet: take it over when it is implementing or later"
        )
    if state.merge.cleared_sha:
        raise errors.Refused(
            f"the merge of {state.merge.cleared_sha} is under way: {state.issue} can no longer be taken over"
        )


def take_over(state: State, request: TakeoverRequest, at: datetime) -> None:
    if steps.taken_over(state):
        return  # only in more of a hurry than before
    state.hold = Hold(kind=HoldKind.TAKEOVER, by=request.by, note=request.note, since=at)
    state.disk_is_theirs = True


def check_handback(state: State, handback: Handback) -> None:
    """Raises errors.Refused when nobody has taken the run over."""
    _check_running(state)
    if not steps.taken_over(state):
        raise errors.Refused(f"{state.issue} is not taken over, it is {state.phase}: nothing to hand back")


def hand_back(state: State, handback: Handback) -> None:
    """What the person changed is recorded first, then the agent goes on; a question of before is void, since the work
    it was about has moved on."""
    state.hold = None
    state.handback = handback
    state.question = state.answer = None
    state.order = state.order or WorkOrder(reason=Reason.TAKEOVER)


def check_release(state: State, request: HoldRequest) -> None:
    """Raises errors.Refused when nothing is held, or when the hold is an approval gate. A closing that is stuck can be
    released too, and so can a run that waits for the files of others."""
    if steps.stands(state):
        return
    _check_running(state)
    if state.hold is None and state.waits_for_files:
        return
    if steps.taken_over(state):
        raise errors.Refused(f"{state.issue} is taken over, not held: fettle handback {state.issue}")
    if state.hold is None:
        raise errors.Refused(f"{state.issue} is not held: it is {state.phase}; see fettle explain {state.issue}")
    raise errors.Refused(f"{state.issue} waits for an approval, not a release: fettle approve {state.issue}")


def release(state: State) -> None:
    """Lift the hold that stands. Where none does, let the run go on beside those for whose files it waits: it asks for
    its place again, and keeps its turn in line."""
    if state.hold is None and state.waits_for_files:
        state.leases_waived, state.behind = True, ()
        state.admission_asked = False
    state.hold = None


def check_edit(state: State, edit: Edit) -> None:
    """Raises errors.Refused when the run has ended, is merging, or nothing would change."""
    _check_running(state)
    if edit.prompt is None and edit.model is None and edit.agent is None and edit.priority is None:
        raise errors.Refused(f"nothing to change on {state.issue}: name a prompt, model, agent or priority")
    if state.merge.cleared_sha:
        raise errors.Refused(
            f"the merge of {state.merge.cleared_sha[:9]} is under way: {state.issue} can no longer be edited"
        )


def edit(state: State, change: Edit) -> None:
    """Takes effect with the next agent turn; new instructions on a published change order one."""
    state.backend = change.agent if change.agent is not None else state.backend
    state.model = change.model if change.model is not None else state.model
    state.priority = change.priority if change.priority is not None else state.priority
    given = {name for name in ("agent", "model", "priority") if getattr(change, name) is not None}
    state.edited = tuple(sorted({*state.edited, *given}))
    if change.priority is not None and not state.admitted:
        state.admission_asked = False  # it asks again, and lines up by its new priority
    if change.agent is not None:
        state.session = None  # another agent cannot continue this one's conversation
        if state.question is not None:  # nobody can answer it any more, and its round is over or goes on without it
            state.order = state.order or WorkOrder(reason=Reason.EDIT, feedback=_another_agent(state))
        state.question = state.answer = None
    if change.prompt is not None:
        state.human_note = change.prompt
        if state.order is None and state.change is not None:
            state.order = WorkOrder(reason=Reason.EDIT, feedback=change.prompt)
            if state.hold and state.hold.kind is HoldKind.MERGE_APPROVAL:
                state.hold = None


def _another_agent(state: State) -> str:
    asked = state.question.tool if state.question else ""
    return (
        f"Another agent worked on this and stopped to ask about a call of {asked}. Look at its work before you go on."
    )


def check_retry(state: State, request: HoldRequest) -> None:
    """Raises errors.Refused when a running run has nothing to retry. A closing that is stuck can be retried too."""
    if state.hold is not None and state.hold.kind is HoldKind.USER:
        raise errors.Refused(
            f"{state.issue} is held by {state.hold.by}, not stuck: fettle release {state.issue} lets it go on"
        )
    if steps.stands(state):
        return
    _check_running(state)
    raise errors.Refused(f"{state.issue} is {state.phase} and not stuck: nothing to retry")


def _due_but_for_a_hold(state: State) -> steps.Step:
    """A hold opens no gate before its time, and closes none whose time has come."""
    return steps.next_step(state.model_copy(update={"hold": None}))


def _check_running(state: State) -> None:
    if state.phase.terminal or state.ending is not None:
        phase = state.ending.phase if state.ending else state.phase
        raise errors.Refused(f"{state.issue} has ended ({phase}): fettle retry {state.issue} starts it again")

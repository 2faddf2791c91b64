"""What a run does next: a pure function over its state. The workflow only carries the answer out."""

import enum

from domain import checks
from domain.brief import bounded
from domain.policy import NoChecks
from domain.run import Hold, HoldKind, Phase, State


class Step(enum.StrEnum):
    OPEN = "open"
    TRIAGE = "triage"
    CLAIM = "claim"
    AWAIT_DEPENDENCIES = "await dependencies"
    AWAIT_DISPATCH = "await dispatch approval"
    ADMIT = "await admission"
    IMPLEMENT = "implement"
    AWAIT_ANSWER = "await an answer"
    PUBLISH = "publish"
    INSPECT = "inspect"
    REVIEW = "review"
    POST_REVIEW = "post review"
    AWAIT_CI = "await ci"
    MARK_READY = "mark ready"
    AWAIT_APPROVAL = "await merge approval"
    MERGE = "merge"
    CLOSE = "close"
    AWAIT_RELEASE = "await release"
    STOP = "stop"


PHASE_OF_STEP = {
    Step.OPEN: Phase.RECEIVED,
    Step.TRIAGE: Phase.TRIAGED,
    Step.CLAIM: Phase.TRIAGED,
    Step.AWAIT_DEPENDENCIES: Phase.BLOCKED,
    Step.AWAIT_DISPATCH: Phase.AWAITING_DISPATCH,
    Step.ADMIT: Phase.AWAITING_DISPATCH,
    Step.IMPLEMENT: Phase.IMPLEMENTING,
    Step.AWAIT_ANSWER: Phase.IMPLEMENTING,
    Step.PUBLISH: Phase.PUBLISHING,
    Step.INSPECT: Phase.REVIEWING,
    Step.REVIEW: Phase.REVIEWING,
    Step.POST_REVIEW: Phase.REVIEWING,
    Step.AWAIT_CI: Phase.AWAITING_CI,
    Step.MARK_READY: Phase.AWAITING_CI,
    Step.AWAIT_APPROVAL: Phase.AWAITING_APPROVAL,
    Step.MERGE: Phase.QUEUED,
}
"""Steps that are missing here keep the phase the run is in."""


def phase_of(state: State, step: Step) -> Phase:
    """The phase a run is in while it does `step`. A merge that was cleared is no longer queued."""
    if step is Step.MERGE and state.merge.cleared_sha:
        return Phase.MERGING
    return PHASE_OF_STEP.get(step, state.phase)


def shown_hold(state: State, step: Step) -> Hold | None:
    """The hold by which a gate shows that it waits for a person; at any other step only a standing hold stays."""
    if step is Step.AWAIT_DISPATCH:
        shown = Hold(kind=HoldKind.DISPATCH_APPROVAL, note="mode review-all asks before an agent starts")
    elif step is Step.AWAIT_APPROVAL and state.change is not None:
        shown = Hold(kind=HoldKind.MERGE_APPROVAL, note=f"approve or reject {state.change.head_sha}")
    elif step is Step.AWAIT_ANSWER and state.question is not None:
        words = bounded(f"action {state.question.id}: {state.question.text}", 2000)
        shown = Hold(kind=HoldKind.ACTION_APPROVAL, note=words)
    else:
        return state.hold if stands(state) or taken_over(state) else None
    known = state.hold
    return known if known and (known.kind, known.note) == (shown.kind, shown.note) else shown


_GATES = frozenset({HoldKind.DISPATCH_APPROVAL, HoldKind.MERGE_APPROVAL, HoldKind.ACTION_APPROVAL})
_STANDING_HOLDS = frozenset(HoldKind) - _GATES - {HoldKind.TAKEOVER}
"""Holds that stop every step. The approval holds are how a gate shows itself: only their gate waits for them. A
takeover is not in the way of the step that prepares it."""


def next_step(state: State) -> Step:
    """The one step that is due. A standing hold stops everything; an ending only closes, and has lifted every hold but
    the one of a closing that is stuck; a person who takes over gets the worktree before anything else."""
    if state.closed:
        return Step.STOP
    if stands(state):
        return Step.AWAIT_RELEASE
    if state.ending is not None:
        return Step.CLOSE
    if taken_over(state):
        return Step.IMPLEMENT
    return _before_work(state) or _after_work(state)


def stands(state: State) -> bool:
    """Whether a hold stops every step. A gate's own hold does not: approval is what its step waits for."""
    return state.hold is not None and state.hold.kind in _STANDING_HOLDS


def tracker_state(state: State) -> str:
    """The issue's state in the words of the repository's file; empty where there is none, or it limits no state."""
    workflow = state.policy.workflow
    return workflow.tracker.state_of(state.labels) if workflow and state.policy.state_limits else ""


def taken_over(state: State) -> bool:
    """Whether a person has, or is about to get, the worktree and the session."""
    return state.hold is not None and state.hold.kind is HoldKind.TAKEOVER


def _before_work(state: State) -> Step | None:
    if not state.opened:
        return Step.OPEN
    if state.triage is None:
        return Step.TRIAGE
    if not state.claimed:
        return Step.CLAIM
    if state.triage.depends_on and not state.dependencies_done:
        return Step.AWAIT_DEPENDENCIES
    if state.mode.asks_before_dispatch and state.dispatch_approval is None:
        return Step.AWAIT_DISPATCH
    if not state.admitted:
        return Step.ADMIT
    if state.question is not None and state.answer is None and state.handback is None:
        return Step.AWAIT_ANSWER
    return Step.IMPLEMENT if state.order is not None else None


def _after_work(state: State) -> Step:
    change = state.change
    if change is None or state.pull is None:
        return Step.PUBLISH
    if not change.by_us and not change.files:
        return Step.INSPECT
    if change.review is None:
        return Step.REVIEW
    if not change.review_posted:
        return Step.POST_REVIEW
    if change.ci is None:
        return Step.AWAIT_CI
    if not state.pull.ready:
        return Step.MARK_READY
    if needs_approval(state) and change.approval is None:
        return Step.AWAIT_APPROVAL
    return Step.CLOSE if state.merge.merged_sha else Step.MERGE


def needs_approval(state: State) -> bool:
    """A person decides where the mode says so, and always where nothing has tested the commit."""
    untested = state.change is not None and state.change.ci is not None and state.change.ci.result is checks.Result.NONE
    return state.mode.asks_before_merge or (untested and state.policy.no_checks is NoChecks.HOLD)


def may_merge(state: State, head_sha: str) -> str:
    """Empty when exactly `head_sha` may be merged now, else the reason against it. Asked in the same workflow task
    that gives the clearance, so a hold or a new head that arrived before it always wins.

    A run whose worker died while it lined up may be asked before it does so again: a clearance that it gave then, it
    would forget as it lines up."""
    if state.ending is not None:
        return f"the run has ended: {state.ending.reason}"
    if state.hold is not None:
        return f"held by {state.hold.by} ({state.hold.kind})"
    if state.change is None or state.change.head_sha != head_sha:
        return f"the head is {state.change.head_sha if state.change else 'unknown'}, not {head_sha}"
    if next_step(state) is not Step.MERGE:
        return f"the run is not ready to merge: next is '{next_step(state)}'"
    if not state.merge.requested:
        return "the run has not lined up for a merge yet"
    return ""

"""What steps, the queue and the outside world change in a run: pure transitions of its state."""

from datetime import datetime

from domain import checks, errors, implement, refs
from domain.brief import FEEDBACK_LIMIT, Brief, tail
from domain.merge_queue import End, Ended, Entry
from domain.policy import NoChecks
from domain.review import Verdict
from domain.run import (
    FILES_NAMED,
    NO_FILE,
    Change,
    Ending,
    Hold,
    HoldKind,
    MergeState,
    Phase,
    Reason,
    State,
    WorkOrder,
)
from domain.steps import Step, stands, taken_over
from domain.tasks import Dependencies, GateFacts, Inspection, Opened
from domain.triage import Triage
from domain.work import FindingLevel

MAX_MERGE_ATTEMPTS = 10
"""How often the queue may send a run back (base moved, candidate stale) before a person is asked."""
_NOT_GRANTED = {
    errors.TurnNotYet.wire_type(): HoldKind.BUDGET,
    errors.QuotaExhausted.wire_type(): HoldKind.PROVIDER_QUOTA,
}


def after_opening(state: State, opened: Opened) -> None:
    """Take the issue and the policy snapshot in; what a person set on this run before stays."""
    state.opened = True
    state.title, state.body, state.author = opened.title, opened.body, opened.author
    state.issue_url, state.labels = opened.url, opened.labels
    state.policy, state.mode, state.judge = opened.policy, opened.mode, opened.judge
    state.base_branch = opened.base_branch
    state.branch = state.branch or refs.work_branch(state.issue, opened.title)
    state.learnings = opened.learnings
    state.backend = state.backend or opened.backend
    state.model = state.model or opened.policy.model
    state.escalation_model = opened.policy.escalation_model
    state.ci_poll_seconds, state.gate_poll_seconds = opened.ci_poll_seconds, opened.gate_poll_seconds
    if opened.gone:
        end(state, Phase.CANCELLED, opened.gone)
    elif opened.refusal:
        end(state, Phase.REJECTED, opened.refusal)


def after_triage(state: State, found: Triage) -> None:
    """Labels win over the repository's defaults; what a person edited wins over labels."""
    state.triage = found
    if "priority" not in state.edited:
        state.priority = found.priority
    if "agent" not in state.edited:
        state.backend = found.agent or state.backend
    if "model" not in state.edited:
        state.model = found.model or state.model
        state.escalation_model = found.model or state.escalation_model


def after_dependencies(state: State, answer: Dependencies) -> None:
    state.dependencies_done = True
    if answer.failed:
        fail(state, "dependency", answer.failed)


def round_input(state: State, run_id: str = "") -> implement.State:
    """The next implementation round, with only the newest feedback. `run_id` is of the run's first execution."""
    order = state.order or WorkOrder()
    return implement.State(
        run=state.issue.workflow_id,
        issue=state.issue,
        generation=state.generation,
        run_id=run_id,
        labels=state.labels,
        priority=state.priority,
        fixed_backend=state.backend if "agent" in state.edited else "",
        answer=state.answer,
        taken_over_by=state.hold.by if state.hold and taken_over(state) else "",
        handback=state.handback,
        accepted=state.accepted,
        brief=Brief(
            issue=str(state.issue),
            title=state.title,
            body=state.body,
            author=state.author,
            url=state.issue_url,
            labels=state.labels,
            priority=state.priority,
            depends_on=state.triage.depends_on if state.triage else (),
            base_branch=state.base_branch,
            branch=state.branch,
            verify_command=state.policy.verify_command,
            human_note=state.human_note,
            learnings=state.learnings,
            reason=order.reason.value,
            feedback=tail(order.feedback, FEEDBACK_LIMIT),
        ),
        policy=state.policy,
        base_branch=state.base_branch,
        branch=state.branch,
        start_fresh=state.fresh,
        expected_remote_sha=state.change.head_sha if state.change else "",
        backend=state.backend,
        model=(state.escalation_model or state.model) if order.reason is Reason.REVIEW else state.model,
        escalation_model=state.escalation_model,
        session=state.session,
        turns=state.rounds,
    )


def queue_entry(state: State) -> Entry:
    """What the merge queue is given: exactly the head that every verdict is about."""
    if state.change is None or state.pull is None:
        raise ValueError(f"{state.issue} has no head to merge")
    return Entry(
        run=state.issue.workflow_id,
        pull=state.issue.repo.pull(state.pull.number),
        head_sha=state.change.head_sha,
        title=state.title,
        method=state.policy.merge_method,
        ignored_checks=state.policy.ignored_checks,
        registration_seconds=state.policy.check_registration_seconds,
        ci_timeout_seconds=state.policy.ci_timeout_seconds,
        ci_poll_seconds=state.ci_poll_seconds,
        needs_checks=state.change.ci is None or state.change.ci.result is not checks.Result.NONE,
        priority=state.priority,
    )


def new_change(state: State, change: Change) -> None:
    """A head takes the place of the one before: every verdict and approval was about that one, and is void."""
    state.change = change
    state.merge = MergeState()
    if state.hold and state.hold.kind is HoldKind.MERGE_APPROVAL:
        state.hold = None


def head_moved(state: State, found_sha: str) -> None:
    """Somebody pushed. The new head is inspected, reviewed and tested like ours."""
    base = state.change.base_sha if state.change else ""
    new_change(state, Change(head_sha=found_sha, base_sha=base, by_us=False))


def after_review(state: State) -> None:
    """A rejected head goes back to the agent, up to the review budget; then a person is asked."""
    change = state.change
    if change is None or change.review is None or change.review.verdict is not Verdict.REJECT:
        return
    if state.used.review >= state.policy.budgets.review:
        fail(state, "review", f"the review still rejects after {state.used.review} repairs: {change.review.text(300)}")
        return
    state.used.review += 1
    state.order = WorkOrder(reason=Reason.REVIEW, feedback=change.review.text())


def after_ci(state: State, verdict: checks.Verdict, log: str = "") -> None:
    """Bind CI's verdict to the head it is about, and decide what a verdict that is not green means."""
    if state.change is None or verdict.head_sha != state.change.head_sha:
        return  # a verdict about a head that has moved on says nothing about this one
    state.change.ci = verdict
    match verdict.result:
        case checks.Result.SILENT:
            fail(state, "ci", verdict.sentence())
        case checks.Result.NONE if state.policy.no_checks is NoChecks.FAIL:
            fail(state, "ci", f"{verdict.sentence()}; the policy says no_checks = fail")
        case checks.Result.RED:
            _repair(state, Reason.CI, f"{verdict.sentence()}\n{log}".strip(), verdict.sentence())
        case _:
            pass


def absorb(state: State, facts: GateFacts) -> None:
    """Take in what became of the issue and the pull request while the run waited."""
    if facts.merged:
        if facts.head_sha:
            state.merge = MergeState(merged_sha=facts.merge_sha or facts.head_sha)
        end(state, Phase.DONE, "somebody merged the pull request")
    elif not facts.issue_open:
        end(state, Phase.CANCELLED, "somebody closed the issue")
    elif not facts.pull_open:
        end(state, Phase.CANCELLED, "somebody closed the pull request")
    elif state.change and facts.head_sha and facts.head_sha != state.change.head_sha:
        head_moved(state, facts.head_sha)


def after_merge(state: State, ended: Ended) -> None:
    """The queue's last word on the head it was given."""
    match ended.end:
        case End.MERGED:
            state.merge = MergeState(merged_sha=ended.merge_sha)
            end(state, Phase.DONE, f"merged as {ended.merge_sha[:9]}" + (f"; {ended.detail}" if ended.detail else ""))
        case End.HEAD_MOVED:
            head_moved(state, ended.found_sha)
        case End.CLOSED:
            end(state, Phase.CANCELLED, ended.sentence)
        case End.CONFLICT:
            merge_refused(state, Reason.CONFLICT, ended.sentence, ended.detail)
        case End.RED:
            merge_refused(state, Reason.CI, ended.sentence, ended.detail)
        case End.REFUSED:
            state.merge = MergeState()
            state.hold = state.hold or Hold(kind=HoldKind.CONFLICT, note=ended.sentence[:2000])
        case End.WITHDRAWN | End.BASE_MOVED:
            merge_refused(state, None, ended.sentence)


def after_round(state: State, result: implement.Result, at: datetime | None = None, *, told: str | None = None) -> None:
    """What an implementation round leaves: a new head to judge, or the reason why there is none.

    Args:
        at: When it ended: a head without checks counts as such from then on.
        told: The note that the round began with; another one that came meanwhile orders another round.
    """
    state.order = None
    state.fresh = False
    state.rounds = result.turns
    state.summary = result.summary
    session = result.session or state.session
    pooled = state.generation >= 2  # the pool says who goes on, and whether in the same conversation
    state.session = session if session and (pooled or session.backend == state.backend) else None
    state.host = result.host or state.host
    if not pooled:
        state.cost_usd = result.cost_usd if result.cost_usd is not None else state.cost_usd
    elif result.spent_usd is not None:
        state.cost_usd = (state.cost_usd or 0.0) + result.spent_usd
    state.question, state.answer, state.handback = result.question, None, None
    state.accepted = result.accepted or state.accepted
    state.disk_is_theirs = result.disk_is_theirs or taken_over(state)
    done = result.integration
    if result.ending.outcome is implement.Outcome.QUESTION:
        return
    if result.ending.outcome is implement.Outcome.GONE:
        end(state, Phase.CANCELLED, result.ending.reason)
    elif result.ending.outcome is implement.Outcome.READY and done is not None:
        warnings = tuple(f for f in done.findings if f.level is FindingLevel.WARNS)
        change = Change(
            head_sha=result.head_sha,
            base_sha=done.base_sha,
            files=done.files[:FILES_NAMED],
            file_count=len(done.files),
            added_lines=done.added_lines,
            removed_lines=done.removed_lines,
            warnings=warnings[:50],
            published_at=at,
        )
        new_change(state, change)
        if told is not None and state.human_note != told:
            state.order = WorkOrder(reason=Reason.EDIT, feedback=state.human_note)
    else:
        kind = "no_changes" if result.ending.outcome is implement.Outcome.NO_CHANGES else result.ending.failure_class
        left = result.host.host_id if result.host and result.disk_is_theirs else ""
        kept = f"; what a person did by hand is not pushed, it stays on host {left}" if left else ""
        fail(state, kind, f"{result.ending.reason}{kept}")


def after_inspection(state: State, seen: Inspection) -> None:
    """A head that somebody else pushed is scanned like ours; a secret in it is a person's to take out."""
    if state.change is None:
        return
    if seen.head_sha and seen.head_sha != state.change.head_sha:
        head_moved(state, seen.head_sha)
    change = state.change
    blocking = [f for f in seen.findings if f.level is FindingLevel.BLOCKS]
    if blocking:  # the head stays uninspected: a release looks again, and does not let it through
        words = "; ".join(f"{f.rule} in {f.path}:{f.line}" for f in blocking[:10])
        note = f"the pushed head {change.head_sha[:9]} fails the safety scan: {words}; rewrite it, then release"
        state.hold = Hold(kind=HoldKind.UNKNOWN_OUTCOME, note=note)
        return
    change.base_sha = seen.base_sha
    change.files = seen.files[:FILES_NAMED] or (NO_FILE,)
    change.file_count = len(seen.files)
    change.added_lines, change.removed_lines = seen.added_lines, seen.removed_lines
    change.warnings = tuple(seen.findings)[:50]


def merge_refused(state: State, reason: Reason | None, sentence: str, detail: str = "") -> None:
    """The queue sent the run back: a conflict or a red candidate is repaired, anything else is tried again."""
    state.merge = MergeState()
    if not stands(state):  # a person who holds a queued run sends nothing back
        state.merge_attempts += 1
    if reason in {Reason.CONFLICT, Reason.CI}:
        _repair(state, reason, f"{sentence}\n{detail}".strip(), sentence)
    elif state.merge_attempts >= MAX_MERGE_ATTEMPTS and state.hold is None:
        state.hold = Hold(
            kind=HoldKind.CONFLICT, note=f"sent back {state.merge_attempts} times by the queue: {sentence}"
        )


def _repair(state: State, reason: Reason, feedback: str, sentence: str) -> None:
    kind = "ci" if reason is Reason.CI else "conflict"
    used: int = getattr(state.used, kind)
    if used >= getattr(state.policy.budgets, kind):
        fail(state, kind, f"{sentence}; {used} repairs did not help")
        return
    setattr(state.used, kind, used + 1)
    state.order = WorkOrder(reason=reason, feedback=feedback)


def fail(state: State, failure_class: str, reason: str) -> None:
    end(state, Phase.FAILED, reason, failure_class)


def end(state: State, phase: Phase, reason: str, failure_class: str = "") -> None:
    """Decide how the run ends. That lifts every hold: there is nothing left to stop but the closing itself."""
    state.ending = Ending(phase=phase, reason=reason, failure_class=failure_class)
    state.hold = None


def stuck(state: State, step: Step, error_type: str, message: str) -> None:
    """A step failed for good. Its effect may or may not have happened, so a person looks before it is tried again. One
    that money or a provider was refused for did nothing."""
    waited_for = _NOT_GRANTED.get(error_type)
    if waited_for is not None:
        state.hold = Hold(kind=waited_for, note=f"'{step}' waits no longer: {message}"[:2000])
        return
    state.hold = Hold(kind=HoldKind.UNKNOWN_OUTCOME, note=f"'{step}' ended in {error_type}: {message}"[:2000])

"""What a turn, its checks and people change in an implementation round: pure transitions of its state."""

from datetime import datetime, timedelta

from domain import agent, errors, pool, work
from domain.brief import FEEDBACK_LIMIT, bounded, tail
from domain.implement import Ending, Handback, HoldSignal, Outcome, State, Step

_HOPELESS = frozenset({errors.TemplateFailed.wire_type(), errors.ConfigurationError.wire_type()})
"""Errors of a turn that come again with every try: a person has to correct a file or a setting."""


_BEFORE_THE_AGENT = _HOPELESS | {errors.HookFailed.wire_type(), errors.AgentUnavailable.wire_type()}
"""Errors that come before a model is asked: such a turn costs nothing."""


def told(state: State, signal: HoldSignal) -> None:
    """The run was held, released, taken over or handed back."""
    state.held = signal.held
    state.taken_over_by = signal.taken_over_by
    if signal.taken_over_by:
        state.recorded = None  # what is handed back next is news, whatever its words
    elif signal.handback != state.recorded:
        state.handback = signal.handback or state.handback


def after_look(state: State, gone: str) -> None:
    """`gone` says why there is nothing to do any more; empty when the issue is as it was."""
    state.look_first = False
    if gone:
        state.ending = Ending(outcome=Outcome.GONE, reason=gone)


def turn_to_ask_for(state: State) -> pool.BeginTurn:
    """The turn that is due, for the pool. A session is continued by its own backend, whoever of the pool takes it. A
    grant that has become stale is asked for by its own name: while it is kept, it is renewed."""
    if state.ask_again and state.asked is not None:
        return state.asked
    session = state.session.backend if state.session and state.session.id else ""
    return pool.BeginTurn(
        run=state.run,
        round=state.turns + 1,
        attempt=state.granted + 1,
        run_id=state.run_id,
        repo=state.issue.repo,
        issue=state.issue.number,
        labels=state.labels,
        priority=state.priority,
        backend=state.fixed_backend or session,
        default_backend=state.backend,
        fallbacks=state.policy.fallback_agents,
        model=state.model,
        turn_seconds=state.policy.turn_seconds,
    )


def after_grant(state: State, asked: pool.BeginTurn, answer: pool.Answer, now: datetime) -> None:
    """The pool's word. Another backend than before cannot continue the conversation."""
    state.granted += 1
    if state.ask_again and state.grant is not None:
        state.ask_again = False
        if answer.verdict is pool.Verdict.REFUSE:  # the old grant is given back, then a new turn is asked for
            state.turn_end = unfinished_turn(asked, state.grant, state)
            return
    if answer.verdict is pool.Verdict.REFUSE and asked.backend and not state.fixed_backend:
        _begin_anew(state)  # nobody of the pool can continue the conversation any more: anybody may begin one
        return
    if answer.verdict is pool.Verdict.REFUSE:
        _fail(state, "pool", answer.sentence)
        return
    state.asked, state.grant = asked, answer
    within = answer.begin_within_seconds
    state.begin_by = now + timedelta(seconds=within) if within is not None else None
    if state.session is not None and state.session.backend != answer.backend:
        _begin_anew(state)


def _begin_anew(state: State) -> None:
    """A new conversation has no call that waits, and a word on one of the old's must not be taken for leave to act."""
    state.session = state.answer = None


def unfinished_turn(asked: pool.BeginTurn, grant: pool.Answer, state: State) -> pool.EndTurn:
    """A granted turn that the round gives up. One that never began costs nothing."""
    began = state.turns >= asked.round
    return pool.EndTurn.failed(asked, grant, error_type="Cancelled", session=state.session, began=began)


def after_settlement(state: State) -> None:
    state.asked = state.grant = state.turn_end = None
    state.ask_again = False


def after_turn(state: State, result: agent.TurnResult) -> None:
    state.turn = result
    state.only_here = bool(result.wip_note)
    state.kept = state.kept or not result.wip_note
    state.session = result.session
    state.cost_usd = result.cost_usd if result.cost_usd is not None else state.cost_usd
    state.answer = None
    if result.turn_cost_usd is not None:
        state.spent_usd = (state.spent_usd or 0.0) + result.turn_cost_usd
    if state.asked is not None and state.grant is not None:
        state.turn_end = pool.EndTurn.finished(state.asked, state.grant, result)
    if result.outcome is agent.Outcome.REFUSED:
        _fail(state, "agent_error", f"the agent declined the task: {bounded(result.summary, 300)}")
    elif result.outcome is agent.Outcome.NEEDS_APPROVAL and result.question is not None:
        state.question = result.question
        state.ending = Ending(outcome=Outcome.QUESTION, reason=bounded(result.question.text, 1000))
    elif result.outcome is agent.Outcome.LIMIT and state.used.continued + 1 < _max_turns(state):
        state.used.continued += 1
        _again(state, "continue", "The last turn ended at its limit. Go on where you stopped.")


def after_interruption(state: State) -> None:
    """A person did not wait for the end of the turn. Its session is kept, and the agent is told what became of it."""
    _turn_failed(state, agent.Outcome.INTERRUPTED.value)
    state.answer = None


def after_integration(state: State, result: work.Integration) -> None:
    """No change gets one more turn, an unsafe one goes back to the agent, a pushed one is verified next."""
    state.integration = result
    if result.outcome is work.IntegrationOutcome.PUSHED:
        state.unrecorded = state.only_here = False
        state.expected_remote_sha = result.head_sha
        if not state.policy.verify_command:
            state.ending = Ending(outcome=Outcome.READY)
        return
    if result.outcome is work.IntegrationOutcome.NO_CHANGES:
        if state.used.unfinished:
            summary = bounded(state.turn.summary, 300) if state.turn else ""
            state.ending = Ending(outcome=Outcome.NO_CHANGES, reason=f"the agent changed nothing: {summary}")
            return
        state.used.unfinished += 1
        _again(state, "unfinished", "The branch has no changes yet. If nothing needs to change, say why and stop.")
        return
    blocking = [f for f in result.findings if f.level is work.FindingLevel.BLOCKS]
    words = "; ".join(f"{f.rule} in {f.path}:{f.line} ({f.commit[:9]})" for f in blocking[:10])
    if state.used.safety >= state.policy.budgets.safety:
        _fail(state, "safety", f"the safety scan blocks the push: {words}")
        return
    state.used.safety += 1
    advice = "Remove the lines from every commit of the branch (rewrite the branch's own commits where needed)."
    _again(state, "safety", f"The safety scan blocks the push: {words}. {advice}")


def after_verification(state: State, result: work.Verification) -> None:
    state.verification = result
    if result.passed:
        state.ending = Ending(outcome=Outcome.READY)
        return
    how = "timed out" if result.timed_out else f"exit code {result.exit_code}"
    if state.used.verify >= state.policy.budgets.verify:
        _fail(
            state, "verify", f"verification still fails ({how}) after {state.used.verify} repairs: {result.tail[-300:]}"
        )
        return
    state.used.verify += 1
    _escalate(state)
    _again(state, "verify", f"`{state.policy.verify_command}` fails ({how}):\n{result.tail}")


def after_turn_error(state: State, error_type: str, message: str, retry_after_seconds: float | None = None) -> None:
    """An agent that crashed or stalled is asked again, with the stronger model, up to its budget. A provider that
    refuses for a while is no failure of the agent: the pool lets the turn begin again when it is over. A person's
    answer stands until a turn has ended with it: where the call was begun, the agent is told so."""
    quota = error_type == errors.QuotaExhausted.wire_type()
    _turn_failed(state, error_type, retry_after_seconds)
    state.look_first = state.generation >= 2
    if quota and state.grant is not None:
        return
    if error_type in _HOPELESS:
        _fail(state, "policy", f"{error_type}: {bounded(message, 1000)}")
        return
    kind = (
        "stall" if error_type in {errors.AgentStalled.wire_type(), errors.AgentTimedOut.wire_type()} else "agent_error"
    )
    used: int = getattr(state.used, kind)
    if used >= getattr(state.policy.budgets, kind):
        _fail(state, kind, f"{error_type} after {used} retries: {bounded(message, 500)}")
        return
    setattr(state.used, kind, used + 1)
    _escalate(state)


def after_host_loss(state: State, step: Step) -> None:
    """Another host continues from what is pushed; a turn is taken again only when its work was on the lost disk."""
    lost = state.lease.host_id if state.lease else ""
    after_lease_loss(state, step)
    state.lost_host = lost


def after_lease_loss(state: State, step: Step) -> None:
    """Another host has the run's work now; the one of this round lives, and may be asked again."""
    if state.used.host_loss >= state.policy.budgets.host_loss:
        _fail(state, "host_loss", f"{state.used.host_loss + 1} agent hosts were lost under this run")
        return
    state.used.host_loss += 1
    if step is Step.TURN:
        _turn_failed(state, "HostLost")
        state.answer = state.answer and state.answer.model_copy(update={"unsure": True})
    state.lease = None
    state.worktree = None
    pushed = state.turn is not None and bool(state.turn.wip_sha)
    if state.integration is None and not pushed:
        state.turn = None


def after_handback(state: State, result: work.Integration) -> None:
    """A person's work is a commit of its own now; the agent is told what was changed, and goes on from there."""
    back = state.handback or Handback(by="somebody")
    state.recorded, state.handback = state.handback, None
    _forget_hand_over(state)
    state.accepted = (*state.accepted, *result.accepted)
    state.unrecorded = result.outcome is work.IntegrationOutcome.UNSAFE
    if state.unrecorded:
        after_integration(state, result)
        return
    changed = "changed nothing"
    if result.outcome is work.IntegrationOutcome.PUSHED:
        state.expected_remote_sha = result.head_sha
        changed = f"changed {', '.join(result.files[:30])}; it is commit {result.head_sha}"
    note = f" They say: {bounded(back.note, 4000)}" if back.note else ""
    theirs = "".join(f" {bounded(each.sentence(), 1000)}: leave those as they are." for each in result.accepted)
    _again(state, "handback", f"{back.by} had the worktree and {changed}. Look at it before you go on.{theirs}{note}")


def after_hand_over(state: State, found: work.HandedOver) -> None:
    """What the agent had left is noted with the worktree it is about: with that, it goes."""
    if state.worktree is not None:
        state.worktree = state.worktree.model_copy(update={"handed_over": found})


def _forget_hand_over(state: State) -> None:
    if state.worktree is not None:
        state.worktree = state.worktree.model_copy(update={"handed_over": None})


def after_unsafe_work(state: State, message: str) -> None:
    """A commit breaks a rule of the import: its sentence goes back to the agent, up to the safety budget. So does that
    of a person's commit: it stays where it is, for the agent to mend."""
    if state.handback is not None:
        message = f"{state.handback.by} had the worktree, and what they left there cannot be taken as it is: {message}"
        state.recorded, state.handback, state.unrecorded = state.handback, None, True
        _forget_hand_over(state)
    if state.used.safety >= state.policy.budgets.safety:
        _fail(state, "safety", f"the import of the agent's commits is refused: {bounded(message, 1000)}")
        return
    state.used.safety += 1
    _again(state, "safety", message)


def failed(state: State, step: Step, error_type: str, message: str) -> None:
    """A step that no retry helps: the round ends, in the error's own words."""
    _fail(state, error_type, f"'{step}' ended in {error_type}: {bounded(message, 1000)}")


def _again(state: State, reason: str, feedback: str) -> None:
    state.brief = state.brief.model_copy(update={"reason": reason, "feedback": tail(feedback, FEEDBACK_LIMIT)})
    state.turn = None
    state.integration = None
    state.verification = None
    state.look_first = state.generation >= 2


def _turn_failed(state: State, error_type: str, retry_after_seconds: float | None = None) -> None:
    if state.asked is not None and state.grant is not None:
        state.turn_end = pool.EndTurn.failed(
            state.asked,
            state.grant,
            error_type=error_type,
            retry_after_seconds=retry_after_seconds,
            session=state.session,
            began=error_type not in _BEFORE_THE_AGENT,
        )


def _max_turns(state: State) -> int:
    return state.policy.max_turns if state.generation >= 2 else 1


def _escalate(state: State) -> None:
    if state.escalation_model:
        state.model = state.escalation_model


def _fail(state: State, failure_class: str, reason: str) -> None:
    state.ending = Ending(outcome=Outcome.FAILED, reason=reason, failure_class=failure_class)

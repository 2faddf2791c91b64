"""What people may decide, and about which commit."""

from datetime import UTC, datetime

import pytest

from domain import agent, decisions, errors, merge_queue, outcomes, run, steps, triage
from domain.policy import ApprovalMode
from domain.steps import Step
from tests.domain.test_steps import HEAD, opened, published

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def approve(head: str = HEAD) -> run.Decision:
    return run.Decision(by="ann", head_sha=head)


def test_an_approval_of_another_head_is_refused_with_both() -> None:
    stale = "9d04e77" + "0" * 33
    with pytest.raises(errors.Refused) as refused:
        decisions.check_decision(published(), approve(stale))
    assert stale in str(refused.value)
    assert HEAD in str(refused.value)


def test_an_approval_without_a_head_is_refused() -> None:
    with pytest.raises(errors.Refused, match="names the commit"):
        decisions.check_decision(published(), approve(""))


def test_an_approval_lets_the_judged_head_merge() -> None:
    state = published(hold=run.Hold(kind=run.HoldKind.MERGE_APPROVAL))
    decisions.check_decision(state, approve(HEAD[:9]))
    decisions.decide(state, approve(HEAD[:9]), NOW)
    assert steps.next_step(state) is Step.MERGE
    assert state.hold is None


def test_approving_twice_keeps_the_first_approval() -> None:
    state = published()
    decisions.decide(state, approve(), NOW)
    decisions.check_decision(state, run.Decision(by="bob", head_sha=HEAD))
    decisions.decide(state, run.Decision(by="bob", head_sha=HEAD), NOW)
    assert state.change is not None
    assert state.change.approval is not None
    assert state.change.approval.by == "ann"


def test_an_approval_does_not_lift_a_users_hold() -> None:
    state = published(hold=run.Hold(kind=run.HoldKind.USER, by="bob"))
    decisions.decide(state, approve(), NOW)
    assert steps.next_step(state) is Step.AWAIT_RELEASE


def test_an_approval_before_ci_has_spoken_is_refused() -> None:
    state = published()
    assert state.change is not None
    state.change.ci = None
    with pytest.raises(errors.Refused, match="not at its merge gate"):
        decisions.check_decision(state, approve())


def test_the_dispatch_gate_takes_an_approval_without_a_head() -> None:
    state = opened(mode=ApprovalMode.REVIEW_ALL)
    decisions.check_decision(state, approve(""))
    decisions.decide(state, approve(""), NOW)
    assert steps.next_step(state) is Step.IMPLEMENT


def test_a_rejection_ends_the_run_and_lifts_a_hold() -> None:
    state = published(hold=run.Hold(kind=run.HoldKind.USER, by="bob"))
    decisions.decide(state, run.Decision(by="ann", approve=False, head_sha=HEAD, note="wrong idea"), NOW)
    assert state.ending is not None
    assert state.ending.phase is run.Phase.REJECTED
    assert "wrong idea" in state.ending.reason
    assert steps.next_step(state) is Step.CLOSE


def test_a_second_hold_is_refused_with_the_holder() -> None:
    state = published(hold=run.Hold(kind=run.HoldKind.USER, by="bob"))
    with pytest.raises(errors.Refused, match="held by bob"):
        decisions.check_hold(state, run.HoldRequest(by="ann"))


def test_releasing_an_approval_gate_is_refused_with_the_right_command() -> None:
    state = published(hold=run.Hold(kind=run.HoldKind.MERGE_APPROVAL))
    with pytest.raises(errors.Refused, match="fettle approve"):
        decisions.check_release(state, run.HoldRequest(by="ann"))


def test_new_instructions_at_the_gate_order_another_round() -> None:
    state = published()
    decisions.check_edit(state, run.Edit(by="ann", prompt="also fix the docs"))
    decisions.edit(state, run.Edit(by="ann", prompt="also fix the docs"))
    assert steps.next_step(state) is Step.IMPLEMENT
    assert state.human_note == "also fix the docs"


def test_another_agent_starts_its_own_conversation() -> None:
    state = opened(session=agent.Session(backend="claude", id="1"))
    decisions.edit(state, run.Edit(by="ann", agent="codex"))
    assert state.session is None
    assert state.backend == "codex"


@pytest.mark.parametrize(
    "check",
    [
        lambda state: decisions.check_decision(state, approve()),
        lambda state: decisions.check_hold(state, run.HoldRequest(by="ann")),
        lambda state: decisions.check_release(state, run.HoldRequest(by="ann")),
        lambda state: decisions.check_edit(state, run.Edit(by="ann", priority=1)),
        lambda state: decisions.check_retry(state, run.HoldRequest(by="ann")),
    ],
)
def test_nothing_can_be_decided_about_a_run_that_has_ended(check: object) -> None:
    state = published()
    state.ending = run.Ending(phase=run.Phase.FAILED, reason="x")
    with pytest.raises(errors.Refused, match="has ended"):
        check(state)  # type: ignore[operator] - a table of callables


def test_a_hold_after_the_clearance_stops_what_comes_after_a_refused_merge() -> None:
    state = published()
    state.merge.cleared_sha = HEAD
    decisions.check_hold(state, run.HoldRequest(by="ann"))
    decisions.hold(state, run.HoldRequest(by="ann"), NOW)
    outcomes.after_merge(
        state, merge_queue.Ended(head_sha=HEAD, end=merge_queue.End.REFUSED, sentence="branch protection says no")
    )
    assert state.hold is not None
    assert state.hold.by == "ann"
    assert steps.next_step(state) is steps.Step.AWAIT_RELEASE


def test_a_retry_does_not_lift_somebodys_hold() -> None:
    state = published(hold=run.Hold(kind=run.HoldKind.USER, by="bob"))
    with pytest.raises(errors.Refused, match="held by bob"):
        decisions.check_retry(state, run.HoldRequest(by="ann"))


def test_what_a_person_edited_wins_over_labels() -> None:
    state = opened(triage=None, admitted=False)
    decisions.edit(state, run.Edit(by="ann", agent="claude", model="m1", priority=1))
    outcomes.after_triage(state, triage.Triage(agent="scripted", model="m2", priority=5))
    assert (state.backend, state.model, state.priority) == ("claude", "m1", 1)


def test_a_new_priority_is_told_to_the_line() -> None:
    state = opened(admitted=False, admission_asked=True)
    decisions.edit(state, run.Edit(by="ann", priority=1))
    assert not state.admission_asked


def test_another_agent_at_a_question_works_on_without_an_answer() -> None:
    """The question was asked in a conversation that this agent cannot continue, and there is no head to publish."""
    asked = agent.Question(id="toolu_1", tool="Bash", text="git push --force")
    hold = run.Hold(kind=run.HoldKind.ACTION_APPROVAL)
    state = opened(order=None, question=asked, session=agent.Session(backend="claude", id="1"), hold=hold)
    assert steps.next_step(state) is Step.AWAIT_ANSWER
    decisions.edit(state, run.Edit(by="ann", agent="codex"))
    assert steps.next_step(state) is Step.IMPLEMENT
    assert state.order is not None
    assert "stopped to ask about a call of Bash" in state.order.feedback


def test_who_takes_over_may_stop_waiting_for_the_turn_later() -> None:
    state = opened(generation=2)
    decisions.take_over(state, run.TakeoverRequest(by="ann", note="mine"), NOW)
    decisions.check_takeover(state, run.TakeoverRequest(by="ann", now=True))
    decisions.take_over(state, run.TakeoverRequest(by="ann", now=True), NOW)
    assert state.hold is not None
    assert (state.hold.by, state.hold.note) == ("ann", "mine")
    for other in (run.TakeoverRequest(by="ann"), run.TakeoverRequest(by="bob", now=True)):
        with pytest.raises(errors.Refused, match="taken over by ann already"):
            decisions.check_takeover(state, other)

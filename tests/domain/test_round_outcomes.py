"""What people do to a round, as it is told to it."""

import pytest

from domain import agent, implement, outcomes, refs, round_outcomes, run, work
from domain.implement import Handback, HoldSignal, Step
from domain.policy import RepositoryPolicy, RetryBudgets

ISSUE = refs.Repository(owner="acme", name="api").issue(12)
HANDBACK = Handback(by="ann", note="rounded by hand")
HANDED_BACK = HoldSignal(held=False, handback=HANDBACK)
TAKEN = HoldSignal(held=False, taken_over_by="ann")
PUSHED = work.Integration(outcome=work.IntegrationOutcome.PUSHED, head_sha="a" * 40, files=("by_hand.py",))


def taken_over() -> implement.State:
    state = implement.State(
        run=ISSUE.workflow_id,
        issue=ISSUE,
        generation=2,
        lease=work.HostLease(host_id="host-1", queue="fettle-host/host-1"),
        worktree=work.Worktree(path="/w", base_sha="b" * 40, head_sha="b" * 40),
    )
    round_outcomes.told(state, TAKEN)
    return state


def handed_back() -> implement.State:
    """What the person did is recorded, and the agent's turn is due."""
    state = taken_over()
    round_outcomes.told(state, HANDED_BACK)
    assert implement.next_step(state) is Step.RECORD
    round_outcomes.after_handback(state, PUSHED)
    return state


def test_a_hold_after_a_handback_does_not_record_it_again() -> None:
    """The run repeats its newest handback with everything it tells: the agent's work would get the person's name."""
    state = handed_back()
    for held in (True, False):
        round_outcomes.told(state, HoldSignal(held=held, handback=HANDBACK))
    assert state.handback is None
    assert implement.next_step(state) is Step.LOOK


def test_a_second_handback_in_the_same_words_is_recorded_too() -> None:
    state = handed_back()
    round_outcomes.told(state, HoldSignal(held=False, taken_over_by="ann", handback=HANDBACK))
    assert implement.next_step(state) is Step.AWAIT_HANDBACK
    round_outcomes.told(state, HANDED_BACK)
    assert implement.next_step(state) is Step.RECORD


@pytest.mark.parametrize("again", [HoldSignal(held=True, handback=HANDBACK), HANDED_BACK])
def test_a_persons_commit_that_cannot_be_imported_goes_to_the_agent(again: HoldSignal) -> None:
    """Recording it once more would be refused once more, until the budget ends the run."""
    state = taken_over()
    round_outcomes.told(state, HANDED_BACK)
    round_outcomes.after_unsafe_work(state, "commit abc adds the submodule lib")
    round_outcomes.told(state, again)
    assert state.ending is None
    assert state.handback is None
    assert "ann had the worktree" in state.brief.feedback
    assert "adds the submodule lib" in state.brief.feedback
    assert implement.result(state).disk_is_theirs
    round_outcomes.after_integration(state, PUSHED)
    assert not implement.result(state).disk_is_theirs


def test_a_run_that_fails_with_a_persons_work_unpushed_says_where_that_is() -> None:
    state = taken_over()
    state.policy = RepositoryPolicy(budgets=RetryBudgets(safety=0))
    round_outcomes.told(state, HANDED_BACK)
    round_outcomes.after_unsafe_work(state, "commit abc adds the submodule lib")
    whole = run.State(issue=ISSUE, generation=2)
    outcomes.after_round(whole, implement.result(state))
    assert whole.ending is not None
    assert "what a person did by hand is not pushed, it stays on host host-1" in whole.ending.reason
    assert whole.disk_is_theirs


def lost_after(turn: agent.TurnResult) -> implement.State:
    """The host is lost when the turn is over and its work is about to be checked."""
    state = taken_over()
    round_outcomes.told(state, HoldSignal(held=False))
    state.turn = turn
    round_outcomes.after_host_loss(state, Step.INTEGRATE)
    return state


def test_a_turn_whose_work_is_pushed_is_not_taken_again_when_its_host_is_lost() -> None:
    session = agent.Session(backend="claude")
    kept = agent.TurnResult(outcome=agent.Outcome.FINISHED, session=session, wip_sha="c" * 40)
    state = lost_after(kept)
    assert implement.next_step(state) is Step.CLAIM_HOST
    assert state.turn == kept
    assert lost_after(kept.model_copy(update={"wip_sha": ""})).turn is None

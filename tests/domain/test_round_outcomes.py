"""What people do to a round, as it is told to it."""

from datetime import UTC, datetime, timedelta

import pytest

from domain import agent, implement, outcomes, pool, refs, round_outcomes, run, words, work
from domain.implement import Handback, HoldSignal, Step
from domain.policy import RepositoryPolicy, RetryBudgets

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
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


def test_what_a_person_changed_of_protected_paths_is_kept_and_told() -> None:
    """The next takeover is noted anew: what the agent does until then is not the person's."""
    state = taken_over()
    state.generation = 3
    assert implement.next_step(state) is Step.HAND_OVER
    round_outcomes.after_hand_over(state, work.HandedOver(head_sha="b" * 40, tree_sha="c" * 40))
    assert implement.next_step(state) is Step.AWAIT_HANDBACK
    round_outcomes.told(state, HANDED_BACK)
    theirs = work.AcceptedCommit(sha="a" * 40, by="ann", files=(work.ProtectedFile(path="CODEOWNERS"),))
    round_outcomes.after_handback(state, PUSHED.model_copy(update={"accepted": (theirs,)}))
    assert "ann changed protected paths in commit aaaaaaaaa: CODEOWNERS: leave those" in state.brief.feedback
    round_outcomes.told(state, TAKEN)
    assert implement.next_step(state) is Step.HAND_OVER
    whole = run.State(issue=ISSUE, generation=3)
    outcomes.after_round(whole, implement.result(state))
    assert outcomes.round_input(whole).accepted == whole.accepted == (theirs,)
    assert "By hand:\n\n- ann changed protected paths in commit aaaaaaaaa: CODEOWNERS" in words.pull_body(whole, "")


def test_a_round_of_an_older_generation_hands_over_at_once() -> None:
    assert implement.next_step(taken_over()) is Step.AWAIT_HANDBACK


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


def test_a_conversation_that_nobody_of_the_pool_can_continue_is_begun_anew() -> None:
    state = taken_over()
    round_outcomes.told(state, HoldSignal(held=False))
    state.session = agent.Session(backend="codex", id="s1")
    refused = pool.Answer(verdict=pool.Verdict.REFUSE, sentence="no agent runs codex")
    asked = round_outcomes.turn_to_ask_for(state)
    assert asked.backend == "codex"
    round_outcomes.after_grant(state, asked, refused, NOW)
    assert implement.next_step(state) is Step.RESERVE
    again = round_outcomes.turn_to_ask_for(state)
    assert again.backend == ""
    round_outcomes.after_grant(state, again, refused, NOW)
    assert state.ending is not None
    assert "no agent runs codex" in state.ending.reason


def granted(state: implement.State, **given: object) -> implement.State:
    asked = round_outcomes.turn_to_ask_for(state)
    answer = pool.Answer.model_validate({"verdict": "go", "backend": "claude", **given})
    round_outcomes.after_grant(state, asked, answer, NOW)
    return state


def answered(backend: str = "claude") -> implement.State:
    """A person has allowed a call, and the turn that makes it is due."""
    state = taken_over()
    round_outcomes.told(state, HoldSignal(held=False))
    state.session = agent.Session(backend=backend, id="s1")
    state.answer = agent.Answer(question_id="toolu_1", allow=True, by="ann")
    return state


@pytest.mark.parametrize("error", ["QuotaExhausted", "AgentCrashed", "AgentStalled"])
def test_an_answer_outlives_a_turn_that_was_lost(error: str) -> None:
    state = granted(answered())
    round_outcomes.after_turn_error(state, error, "429")
    assert state.ending is None
    assert state.answer is not None
    round_outcomes.after_turn(
        state, agent.TurnResult(outcome=agent.Outcome.FINISHED, session=agent.Session(backend="claude"))
    )
    assert state.answer is None


def test_a_call_that_a_lost_host_may_have_made_is_not_allowed_blindly() -> None:
    state = granted(answered())
    round_outcomes.after_host_loss(state, Step.PREPARE)
    assert state.answer is not None
    assert not state.answer.unsure
    round_outcomes.after_host_loss(state, Step.TURN)
    assert state.answer.unsure


def test_an_answer_to_one_agent_is_no_leave_for_another() -> None:
    """Where a CLI asks by a plan, a yes means that it may act."""
    state = granted(answered("claude"), backend="codex")
    assert (state.session, state.answer) == (None, None)
    state = answered("claude")
    refused = pool.Answer(verdict=pool.Verdict.REFUSE, sentence="no agent runs claude")
    round_outcomes.after_grant(state, round_outcomes.turn_to_ask_for(state), refused, NOW)
    assert (state.session, state.answer) == (None, None)


def test_a_turn_under_a_budget_stops_at_what_it_reserved() -> None:
    session = agent.Session(backend="claude", id="s1")
    free = granted(taken_over(), reserved_usd=2.0)
    assert implement.turn_request(free, session, resume=False).limits.cost_usd is None
    bound = granted(taken_over(), reserved_usd=2.0, room_usd=9.0)
    assert implement.turn_request(bound, session, resume=False).limits.cost_usd == 2.0


def test_a_turn_that_fails_before_its_agent_began_costs_nothing() -> None:
    state = granted(taken_over(), reserved_usd=2.0)
    round_outcomes.after_turn_error(state, "HookFailed", "before_run: exit code 1")
    assert state.turn_end is not None
    assert not state.turn_end.began


def test_what_a_run_cost_is_the_sum_of_its_turns_whoever_took_them() -> None:
    state = granted(taken_over())
    for session, total, of_turn in (("s1", 0.5, 0.5), ("s2", 0.25, 0.25)):
        state.turn = None
        round_outcomes.after_turn(
            state,
            agent.TurnResult(
                outcome=agent.Outcome.FINISHED,
                session=agent.Session(backend="claude", id=session),
                cost_usd=total,
                turn_cost_usd=of_turn,
            ),
        )
    whole = run.State(issue=ISSUE, generation=2, cost_usd=1.0)
    outcomes.after_round(whole, implement.result(state))
    assert whole.cost_usd == 1.75


def stale() -> implement.State:
    """It got its host long after it got its turn."""
    state = taken_over()
    round_outcomes.told(state, HoldSignal(held=False))
    granted(state, turn="first#1", begin_within_seconds=600)
    assert not implement.grant_is_stale(state, NOW + timedelta(seconds=600))
    assert implement.grant_is_stale(state, NOW + timedelta(seconds=601))
    state.ask_again = True
    return state


def test_a_grant_that_became_stale_is_asked_for_again_by_its_own_name() -> None:
    state = stale()
    assert implement.next_step(state) is Step.RESERVE
    asked = state.asked
    granted(state, turn="first#1", begin_within_seconds=600)
    assert state.asked == asked
    assert implement.next_step(state) is Step.TURN


def test_a_stale_grant_that_nobody_of_the_pool_renews_is_given_back_as_never_begun() -> None:
    state = stale()
    asked = round_outcomes.turn_to_ask_for(state)
    round_outcomes.after_grant(state, asked, pool.Answer(verdict=pool.Verdict.REFUSE, sentence="nobody"), NOW)
    assert state.turn_end is not None
    assert (state.turn_end.turn, state.turn_end.began) == ("first#1", False)
    round_outcomes.after_settlement(state)
    assert implement.next_step(state) is Step.RESERVE
    assert round_outcomes.turn_to_ask_for(state).turn != asked.turn


def test_an_older_grant_may_begin_whenever_it_likes() -> None:
    """A fleet of before does not say how long."""
    state = granted(taken_over())
    assert not implement.grant_is_stale(state, NOW + timedelta(days=9))

"""What each answer does to a run: budgets, repairs, endings."""

import pytest

from domain import checks, implement, outcomes, refs, review, run, steps, work
from domain.merge_queue import End, Ended
from domain.policy import ApprovalMode, NoChecks, RepositoryPolicy, RetryBudgets
from domain.tasks import Dependencies, GateFacts, Inspection, Opened
from tests.domain.test_steps import HEAD, ISSUE, published

OTHER = "9d04e77" + "0" * 33


def red() -> checks.Verdict:
    return checks.Verdict(head_sha=HEAD, result=checks.Result.RED, failed=("tests",))


def test_red_ci_orders_a_repair_with_the_log() -> None:
    state = published()
    outcomes.after_ci(state, red(), "assert 1 == 2")
    assert state.order is not None
    assert state.order.reason is run.Reason.CI
    assert "assert 1 == 2" in state.order.feedback
    assert state.used.ci == 1


def test_red_ci_ends_the_run_when_its_budget_is_used_up() -> None:
    state = published(policy=RepositoryPolicy(budgets=RetryBudgets(ci=0)))
    outcomes.after_ci(state, red())
    assert state.ending is not None
    assert state.ending.failure_class == "ci"
    assert "tests failed" in state.ending.reason


def test_a_verdict_about_an_older_head_is_dropped() -> None:
    state = published()
    outcomes.after_ci(state, checks.Verdict(head_sha=OTHER, result=checks.Result.RED, failed=("tests",)))
    assert state.order is None
    assert state.change is not None
    assert state.change.ci is not None
    assert state.change.ci.result is checks.Result.GREEN


def test_the_three_ways_of_no_green_have_three_sentences() -> None:
    sentences = []
    for verdict in (
        red(),
        checks.Verdict(head_sha=HEAD, result=checks.Result.SILENT, note="waiting for tests"),
        checks.Verdict(head_sha=HEAD, result=checks.Result.NONE),
    ):
        state = published(policy=RepositoryPolicy(no_checks=NoChecks.FAIL, budgets=RetryBudgets(ci=0)))
        outcomes.after_ci(state, verdict)
        assert state.ending is not None
        sentences.append(state.ending.reason)
    assert "is red" in sentences[0]
    assert "never reported" in sentences[1]
    assert "no CI check is configured" in sentences[2]


def test_a_rejecting_review_goes_back_to_the_agent_once_a_round() -> None:
    state = published()
    assert state.change is not None
    state.change.review = review.Review(
        head_sha=HEAD, verdict=review.Verdict.REJECT, by="model", blocking=("misses the point",)
    )
    outcomes.after_review(state)
    assert state.order is not None
    assert state.order.reason is run.Reason.REVIEW
    assert "misses the point" in state.order.feedback


def test_the_review_budget_ends_the_run_in_the_reviews_words() -> None:
    state = published(used=run.Used(review=3))
    assert state.change is not None
    state.change.review = review.Review(
        head_sha=HEAD, verdict=review.Verdict.REJECT, by="model", blocking=("misses the point",)
    )
    outcomes.after_review(state)
    assert state.ending is not None
    assert "misses the point" in state.ending.reason


@pytest.mark.parametrize(("end", "order"), [(End.CONFLICT, run.Reason.CONFLICT), (End.RED, run.Reason.CI)])
def test_the_queue_sends_conflicts_and_red_candidates_to_repair(end: End, order: run.Reason) -> None:
    state = published()
    outcomes.after_merge(state, Ended(head_sha=HEAD, end=end, sentence="why"))
    assert state.order is not None
    assert state.order.reason is order


def test_a_refused_merge_waits_for_a_person() -> None:
    state = published()
    outcomes.after_merge(state, Ended(head_sha=HEAD, end=End.REFUSED, sentence="protection: 1 approval is missing"))
    assert state.hold is not None
    assert state.hold.kind is run.HoldKind.CONFLICT
    assert "1 approval is missing" in state.hold.note


def test_a_merge_ends_the_run_with_its_commit() -> None:
    state = published()
    outcomes.after_merge(state, Ended(head_sha=HEAD, end=End.MERGED, merge_sha=OTHER))
    assert state.ending is not None
    assert state.ending.phase is run.Phase.DONE
    assert state.merge.merged_sha == OTHER


def test_a_round_without_changes_is_its_own_outcome() -> None:
    state = published()
    result = implement.Result(ending=implement.Ending(outcome=implement.Outcome.NO_CHANGES, reason="nothing to do"))
    outcomes.after_round(state, result)
    assert state.ending is not None
    assert state.ending.failure_class == "no_changes"


def test_warnings_of_the_scan_reach_the_reviewer() -> None:
    state = published()
    warning = work.SafetyFinding(rule="eval", level=work.FindingLevel.WARNS, path="a.py", line=3)
    done = work.Integration(outcome=work.IntegrationOutcome.PUSHED, head_sha=OTHER, findings=(warning,))
    outcomes.after_round(
        state,
        implement.Result(
            ending=implement.Ending(outcome=implement.Outcome.READY), head_sha=OTHER, integration=done, turns=2
        ),
    )
    assert state.change is not None
    assert state.change.warnings == (warning,)
    assert state.change.review is None


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        (GateFacts(merged=True, pull_open=False, head_sha=HEAD), run.Phase.DONE),
        (GateFacts(issue_open=False), run.Phase.CANCELLED),
        (GateFacts(pull_open=False), run.Phase.CANCELLED),
    ],
)
def test_what_people_do_on_the_forge_ends_the_run(facts: GateFacts, phase: run.Phase) -> None:
    state = published()
    outcomes.absorb(state, facts)
    assert state.ending is not None
    assert state.ending.phase is phase


def test_a_secret_in_somebody_elses_push_is_held_for_a_person() -> None:
    state = published()
    outcomes.head_moved(state, OTHER)
    finding = work.SafetyFinding(rule="github-token", level=work.FindingLevel.BLOCKS, path="a.py", line=1)
    outcomes.after_inspection(state, Inspection(base_sha="b", files=("a.py",), findings=(finding,)))
    assert state.hold is not None
    assert "github-token in a.py:1" in state.hold.note


def test_a_lost_dependency_fails_its_dependents_in_words() -> None:
    state = run.State(issue=ISSUE)
    outcomes.after_dependencies(state, Dependencies(failed="it depends on acme/api#3, which is labelled fettle-failed"))
    assert state.ending is not None
    assert "acme/api#3" in state.ending.reason


def test_a_closed_issue_is_not_worked_on() -> None:
    state = run.State(issue=ISSUE)
    outcomes.after_opening(state, Opened(gone="the issue is closed"))
    assert state.ending is not None
    assert state.ending.phase is run.Phase.CANCELLED


def test_an_author_without_the_right_is_rejected_with_the_reason() -> None:
    state = run.State(issue=ISSUE)
    outcomes.after_opening(state, Opened(refusal="@eve has read permission"))
    assert state.ending is not None
    assert state.ending.phase is run.Phase.REJECTED


def test_a_repair_starts_from_the_head_that_was_judged() -> None:
    state = published()
    outcomes.after_ci(state, red(), "log")
    wanted = outcomes.round_input(state)
    assert wanted.expected_remote_sha == HEAD
    assert wanted.brief.reason == "ci"
    assert wanted.run == refs.Repository(owner="acme", name="api").issue(12).workflow_id


def test_a_base_that_moved_voids_the_clearance_and_the_run_asks_again() -> None:
    state = published(mode=ApprovalMode.FULL_AUTO)
    state.merge = run.MergeState(requested=True, cleared_sha=HEAD)
    outcomes.after_merge(state, Ended(head_sha=HEAD, end=End.BASE_MOVED, sentence="main moved"))
    assert state.merge.cleared_sha == ""
    assert steps.next_step(state) is steps.Step.MERGE


def test_a_persons_hold_in_the_queue_uses_up_no_attempt() -> None:
    state = published(hold=run.Hold(kind=run.HoldKind.USER, by="ann"))
    outcomes.after_merge(state, Ended(head_sha=HEAD, end=End.WITHDRAWN, sentence="held"))
    assert state.merge_attempts == 0

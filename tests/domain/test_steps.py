"""The order of a run's steps, read as a table."""

from datetime import UTC, datetime

import pytest

from domain import checks, outcomes, refs, review, run, steps, triage
from domain.policy import ApprovalMode, NoChecks, RepositoryPolicy
from domain.steps import Step

ISSUE = refs.Repository(owner="acme", name="api").issue(12)
HEAD = "3f2c1ab" + "0" * 33
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def opened(**changes: object) -> run.State:
    state = run.State(issue=ISSUE, opened=True, triage=triage.Triage(), claimed=True, admitted=True)
    return state.model_copy(update=changes)


def published(**changes: object) -> run.State:
    change = run.Change(
        head_sha=HEAD,
        files=("a.py",),
        review=review.Review(head_sha=HEAD, verdict=review.Verdict.APPROVE, by="rules"),
        review_posted=True,
        ci=checks.Verdict(head_sha=HEAD, result=checks.Result.GREEN),
    )
    state = opened(order=None, change=change, pull=run.PullRequest(number=7, ready=True))
    return state.model_copy(update=changes)


def test_a_new_run_is_opened_first() -> None:
    assert steps.next_step(run.State(issue=ISSUE)) is Step.OPEN


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"triage": None}, Step.TRIAGE),
        ({"claimed": False}, Step.CLAIM),
        ({"triage": triage.Triage(depends_on=(3,))}, Step.AWAIT_DEPENDENCIES),
        ({"mode": ApprovalMode.REVIEW_ALL}, Step.AWAIT_DISPATCH),
        ({"admitted": False}, Step.ADMIT),
        ({}, Step.IMPLEMENT),
        ({"order": None}, Step.PUBLISH),
    ],
)
def test_steps_before_the_first_push_come_in_order(changes: dict[str, object], expected: Step) -> None:
    assert steps.next_step(opened(**changes)) is expected


@pytest.mark.parametrize("missing", ["review", "ci"])
def test_a_head_without_a_verdict_is_never_merged(missing: str) -> None:
    state = published(mode=ApprovalMode.FULL_AUTO)
    assert state.change is not None
    setattr(state.change, missing, None)
    assert steps.next_step(state) in {Step.REVIEW, Step.AWAIT_CI}


def test_full_auto_merges_what_is_green_and_reviewed() -> None:
    assert steps.next_step(published(mode=ApprovalMode.FULL_AUTO)) is Step.MERGE


def test_other_modes_ask_a_person_before_the_merge() -> None:
    assert steps.next_step(published()) is Step.AWAIT_APPROVAL


def test_a_commit_without_any_check_needs_a_person_even_in_full_auto() -> None:
    state = published(mode=ApprovalMode.FULL_AUTO)
    assert state.change is not None
    state.change.ci = checks.Verdict(head_sha=HEAD, result=checks.Result.NONE)
    assert steps.next_step(state) is Step.AWAIT_APPROVAL
    state.policy = RepositoryPolicy(no_checks=NoChecks.MERGE)
    assert steps.next_step(state) is Step.MERGE


@pytest.mark.parametrize("make", [opened, published])
def test_a_user_hold_stops_every_step(make: object) -> None:
    state = make(hold=run.Hold(kind=run.HoldKind.USER, by="ann"))  # type: ignore[operator] - one of two builders
    assert steps.next_step(state) is Step.AWAIT_RELEASE


def test_an_ending_only_closes_and_a_closed_run_stops() -> None:
    state = published()
    outcomes.fail(state, "ci", "red")
    assert steps.next_step(state) is Step.CLOSE
    state.closed = True
    assert steps.next_step(state) is Step.STOP


def test_merging_is_allowed_for_exactly_the_judged_head() -> None:
    state = published(mode=ApprovalMode.FULL_AUTO, merge=run.MergeState(requested=True))
    assert steps.may_merge(state, HEAD) == ""
    assert "the head is" in steps.may_merge(state, "9d04e77" + "0" * 33)


def test_a_run_that_has_not_lined_up_clears_nothing() -> None:
    assert "has not lined up" in steps.may_merge(published(mode=ApprovalMode.FULL_AUTO), HEAD)


def test_a_hold_refuses_a_merge_that_was_ready() -> None:
    state = published(mode=ApprovalMode.FULL_AUTO, hold=run.Hold(kind=run.HoldKind.USER, by="ann"))
    assert "held by ann" in steps.may_merge(state, HEAD)


def test_a_new_head_voids_review_ci_and_approval() -> None:
    state = published()
    assert state.change is not None
    state.change.approval = run.Approval(by="ann", head_sha=HEAD)
    outcomes.head_moved(state, "9d04e77" + "0" * 33)
    assert state.change.review is None
    assert state.change.ci is None
    assert state.change.approval is None
    assert steps.next_step(state) is Step.INSPECT

"""CI green means every required context passed on this commit, not that no failure was seen."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import checks, forge
from domain.checks import Result
from domain.forge import CheckState

SHA = "a" * 40


def check(name: str, state: CheckState = CheckState.SUCCESS, app: int | None = None) -> forge.Check:
    return forge.Check(name=name, state=state, app_id=app)


def judge(
    found: list[forge.Check],
    required: list[forge.RequiredCheck] | None = None,
    *,
    age: float = 0,
    ignored: tuple[str, ...] = (),
) -> checks.Verdict:
    return checks.evaluate(
        SHA,
        found,
        required or [],
        ignored=ignored,
        age=timedelta(seconds=age),
        registration=timedelta(seconds=120),
    )


def test_all_required_passed_is_green() -> None:
    assert judge([check("tests")], [forge.RequiredCheck(name="tests")]).result is Result.GREEN


def test_a_required_check_that_is_missing_is_waited_for() -> None:
    verdict = judge([check("lint")], [forge.RequiredCheck(name="tests")])
    assert verdict.result is Result.PENDING
    assert verdict.waiting_for == ("tests",)


def test_a_required_check_from_another_app_does_not_count() -> None:
    verdict = judge([check("tests", app=2)], [forge.RequiredCheck(name="tests", app_id=1)])
    assert verdict.result is Result.PENDING


def test_zero_checks_are_pending_until_the_registration_time_then_none() -> None:
    assert judge([], age=119).result is Result.PENDING
    assert judge([], age=120).result is Result.NONE


def test_a_failure_is_final_while_others_still_run() -> None:
    assert judge([check("a", CheckState.FAILURE), check("b", CheckState.PENDING)]).result is Result.RED


def test_ignored_checks_neither_hold_nor_fail() -> None:
    found = [check("tests"), check("codecov/patch", CheckState.PENDING), check("CodeRabbit", CheckState.FAILURE)]
    assert judge(found, ignored=("codecov*", "coderabbit*")).result is Result.GREEN


def test_a_required_check_is_never_ignored() -> None:
    found = [check("codecov/patch", CheckState.FAILURE)]
    verdict = judge(found, [forge.RequiredCheck(name="codecov/patch")], ignored=("codecov*",))
    assert verdict.result is Result.RED


@pytest.mark.parametrize("state", [CheckState.NEUTRAL, CheckState.SKIPPED])
def test_neutral_and_skipped_pass(state: CheckState) -> None:
    assert judge([check("tests", state)]).result is Result.GREEN


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(CheckState)))))
def test_green_implies_that_every_required_name_passed(found: list[tuple[str, CheckState]]) -> None:
    verdict = judge([check(n, s) for n, s in found], [forge.RequiredCheck(name="a")], age=1e6)
    if verdict.result is Result.GREEN:
        assert ("a", CheckState.FAILURE) not in found
        assert any(n == "a" and s.passes for n, s in found)
        assert all(s.passes for _, s in found)

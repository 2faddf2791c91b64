"""Money is reserved before it is spent, and no limit is passed by more than one reserved turn."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain import budget, errors, refs
from domain.budget import Book, Change, Limits, Override, Scope

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
REPO = refs.Repository(owner="acme", name="api")
OTHER = refs.Repository(owner="acme", name="web")


def keys(run: str = "issue/acme/api/1", run_id: str = "r1", repo: refs.Repository = REPO, issue: int = 1) -> tuple:
    return budget.keys(run, run_id, repo, issue, NOW)


def short(book: Book, estimate: float = 2, now: datetime = NOW, **who: object) -> Scope | None:
    found = book.shortage(keys(**who), estimate, {}, now)  # type: ignore[arg-type] # test arguments by name
    return found.key.scope if found else None


def spend(book: Book, usd: float, **who: object) -> None:
    book.settle(keys(**who), usd, known=True, now=NOW)  # type: ignore[arg-type] # test arguments by name


def test_without_limits_nothing_waits() -> None:
    book = Book()
    spend(book, 1e6)
    assert short(book, 1e6) is None
    assert book.room(keys(), {}, NOW) is None


def test_each_scope_counts_what_is_its_own() -> None:
    other_run = {"run_id": "r2"}
    other_issue = {"run": "issue/acme/api/2", "run_id": "r3", "issue": 2}
    other_repo = {"run": "issue/acme/web/1", "run_id": "r4", "repo": OTHER}
    cases = {
        Scope.RUN: (Limits(run_usd=5), (other_run, other_issue, other_repo)),
        Scope.ISSUE: (Limits(issue_usd=5), (other_issue, other_repo)),
        Scope.REPOSITORY: (Limits(repository_day_usd=5), (other_repo,)),
        Scope.DAY: (Limits(day_usd=5), ()),
    }
    for scope, (limits, free) in cases.items():
        book = Book(limits=limits)
        spend(book, 5)
        assert short(book) is scope
        for who in (other_run, other_issue, other_repo):
            assert (short(book, **who) is None) == (who in free), (scope, who)


def test_a_repository_may_have_a_limit_of_its_own_whatever_its_case() -> None:
    book = Book(limits=Limits(repository_day_usd=1, repositories={"acme/api": 10}))
    spend(book, 5)
    assert short(book, repo=refs.Repository(owner="Acme", name="API")) is None
    spend(book, 5, repo=OTHER)
    assert short(book, repo=OTHER) is Scope.REPOSITORY


def test_a_new_day_has_its_own_money() -> None:
    book = Book(limits=Limits(day_usd=5, repository_day_usd=5))
    spend(book, 5)
    found = book.shortage(keys(), 1, {}, NOW)
    assert found is not None
    assert found.until == datetime(2026, 3, 2, tzinfo=UTC)
    tomorrow = budget.keys("issue/acme/api/1", "r1", REPO, 1, NOW + timedelta(hours=2))
    assert book.shortage(tomorrow, 1, {}, NOW + timedelta(hours=2)) is None


def test_reserved_money_is_as_gone_as_spent_money() -> None:
    book = Book(limits=Limits(day_usd=10))
    (day,) = (k for k in keys() if k.scope is Scope.DAY)
    assert book.shortage(keys(), 3, {day.id: 8.0}, NOW) is not None
    assert book.shortage(keys(), 2, {day.id: 8.0}, NOW) is None


def test_the_last_dollar_may_begin_one_turn_alone() -> None:
    """A limit below the price of a turn is no standstill, and is passed by less than one turn."""
    book = Book(limits=Limits(day_usd=10))
    spend(book, 9)
    assert short(book, 3) is None
    spend(book, 1)
    assert short(book, 3) is Scope.DAY


def test_the_sentence_names_the_limit_what_is_gone_and_what_to_do() -> None:
    book = Book(limits=Limits(day_usd=10))
    spend(book, 9)
    (day,) = (k for k in keys() if k.scope is Scope.DAY)
    found = book.shortage(keys(), 3, {day.id: 1.0}, NOW)
    assert found is not None
    assert found.sentence() == (
        "today's budget of $10.00 has $9.00 spent, $1.00 is reserved for turns under way, and this turn may cost "
        "$3.00: allow more with fettle budget override --usd N --for 2h"
    )


def test_an_override_ends_by_itself_and_covers_what_it_names() -> None:
    book = Book(limits=Limits(day_usd=5, repository_day_usd=5))
    spend(book, 5)
    book.apply(Change(by="ann", override=Override(usd=4, seconds=3600, by="ann")), NOW)
    assert short(book) is None
    assert short(book, now=NOW + timedelta(minutes=61)) is not None
    narrow = Book(limits=Limits(repository_day_usd=5))
    spend(narrow, 5)
    spend(narrow, 5, repo=OTHER)
    narrow.apply(Change(by="ann", override=Override(usd=4, seconds=3600, by="ann", repo=REPO)), NOW)
    assert (short(narrow), short(narrow, repo=OTHER)) == (None, Scope.REPOSITORY)


def test_an_override_of_one_issue_leaves_the_others_alone() -> None:
    book = Book(limits=Limits(issue_usd=5))
    for number in (1, 2):
        spend(book, 5, issue=number)
    book.apply(Change(by="ann", override=Override(usd=4, seconds=60, by="ann", repo=REPO, issue=1)), NOW)
    assert (short(book, issue=1), short(book, issue=2)) == (None, Scope.ISSUE)


def test_unknown_costs_are_booked_and_told() -> None:
    book = Book(limits=Limits(day_usd=5))
    book.settle(keys(), 2, known=False, now=NOW)
    (tally,) = [t for id, t in book.tallies.items() if id.startswith("day/")]
    assert (tally.usd, tally.unknown_usd, tally.turns) == (2, 2, 1)


def test_limits_are_set_one_by_one_and_taken_back() -> None:
    book = Book()
    book.apply(Change(by="ann", limits={"day_usd": 50.0, "repositories": {"Acme/API": 9.0}}), NOW)
    book.apply(Change(by="ann", limits={"run_usd": 5.0}), NOW)
    assert (book.limits.day_usd, book.limits.run_usd, book.limits.repositories) == (50, 5, {"acme/api": 9})
    book.apply(Change(by="ann", limits={"day_usd": None}, forget_repositories=("acme/api",)), NOW)
    assert (book.limits.day_usd, book.limits.run_usd, book.limits.repositories) == (None, 5, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(by="ann"), "name a limit"),
        (Change(by="ann", limits={"day_usd": -1.0}), "'day_usd' is -1.0"),
        (Change(by="ann", limits={"week_usd": 1.0}), "'week_usd'"),
    ],
)
def test_a_wrong_change_is_refused_with_what_is_wrong(change: Change, words: str) -> None:
    with pytest.raises(errors.Refused, match=words):
        Book().check(change, NOW)


def test_the_configuration_counts_until_a_person_sets_a_limit() -> None:
    book, seed = Book(), Change(by="configuration", limits={"day_usd": 5.0}, seed=True)
    book.check(seed, NOW)
    book.apply(seed, NOW)
    with pytest.raises(errors.Refused, match="as configured already"):
        book.check(seed, NOW)
    book.apply(Change(by="ann", limits={"day_usd": 7.0}), NOW)
    with pytest.raises(errors.Refused, match="changed by ann"):
        book.check(seed, NOW)


def test_sums_of_days_long_over_and_of_the_oldest_runs_are_forgotten() -> None:
    book = Book()
    spend(book, 1)
    later = NOW + timedelta(days=3)
    book.settle(budget.keys("x", "", REPO, 2, later), 1, known=True, now=later)
    assert not any(id.startswith("day/2026-03-01") for id in book.tallies)
    assert any(id.startswith("issue/acme/api#1") for id in book.tallies)
    for n in range(budget.MOST_TALLIES):
        book.settle(budget.keys(f"y{n}", "", REPO, 3, later), 1, known=True, now=later + timedelta(seconds=n))
    assert len(book.tallies) <= budget.MOST_TALLIES
    assert not any(id.startswith("issue/acme/api#1") for id in book.tallies)


@given(
    limit=st.floats(0, 50),
    turns=st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1), st.booleans()), max_size=40),
)
def test_no_order_of_turns_passes_a_limit_by_more_than_one_reservation(
    limit: float, turns: list[tuple[float, float, bool]]
) -> None:
    """Turns that cost no more than they reserve begin in any number at once and end in any order."""
    book, open_turns = Book(limits=Limits(day_usd=limit)), []
    (day,) = (k for k in keys() if k.scope is Scope.DAY)
    largest = 0.0
    for estimate, share, ends_one in turns:
        reserved = {day.id: sum(e for e, _ in open_turns)}
        if book.shortage(keys(), estimate, reserved, NOW) is None:
            open_turns.append((estimate, share))
            largest = max(largest, estimate)
        if ends_one and open_turns:
            cost, part = open_turns.pop(0)
            book.settle(keys(), cost * part, known=True, now=NOW)
        assert book.spent(day) + sum(e for e, _ in open_turns) <= limit + largest + 1e-6


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_has_not_is_no_limit(usd: float) -> None:
    """It would reach the fleet as null, which takes the limit away."""
    for limits in ({"day_usd": usd}, {"repositories": {"acme/api": usd}}):
        with pytest.raises(ValidationError):
            Change.model_validate({"by": "ann", "limits": limits})

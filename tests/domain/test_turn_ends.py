"""Ends that come late, twice or never are booked once; judgements are paid like turns."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import budget, errors, ledger, pool, refs, turn_ends, turns
from domain.pool import Answer, BeginTurn, EndTurn, Verdict, WaitReason

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=6)
REPO = refs.Repository(owner="acme", name="api")
DAY = budget.Key(scope=budget.Scope.DAY, name="2026-03-01")


def ask(number: int = 1, **given: object) -> BeginTurn:
    fields = {"run": f"issue/acme/api/{number}", "repo": REPO, "issue": number, "default_backend": "claude"}
    return BeginTurn.model_validate({**fields, **given})


def judge(number: int = 1, **given: object) -> BeginTurn:
    return ask(number, judgement=True, backend="claude", type="review", turn_seconds=600, **given)


def over(asked: BeginTurn, answer: Answer, outcome: str = "finished", **given: object) -> EndTurn:
    return EndTurn.failed(asked, answer, error_type=outcome).model_copy(update=given)


def settle(state: turns.State, ended: EndTurn, cost: float | None = 1.0, at: datetime = LATER) -> pool.Settled:
    return turn_ends.settle(state, turn_ends.Settlement(ended=ended, cost_usd=cost), at)


def lapsed(asked: BeginTurn | None = None) -> tuple[turns.State, Answer]:
    """A turn of four dollars that its run was silent about for too long."""
    state = turns.State()
    answer = turns.begin(state, asked or ask(estimate_usd=4), NOW)
    (lost,) = turn_ends.overdue(state, (), LATER)
    settle(state, lost, None)
    return state, answer


def books(state: turns.State) -> set[tuple[float, float, int]]:
    return {(t.usd, t.unknown_usd, t.turns) for t in state.book.tallies.values()}


def test_a_late_end_corrects_what_was_booked_for_a_lost_turn() -> None:
    state, answer = lapsed()
    assert books(state) == {(4, 4, 1)}
    assert turn_ends.is_news(state, turn_ends.Settlement(ended=over(ask(), answer)))
    settled = settle(state, over(ask(), answer), 2.5)
    assert (settled.cost_usd, settled.known) == (2.5, True)
    assert books(state) == {(2.5, 0, 1)}


def test_a_late_end_that_is_told_twice_corrects_once() -> None:
    state, answer = lapsed()
    settle(state, over(ask(), answer), 2.5)
    assert not turn_ends.is_news(state, turn_ends.Settlement(ended=over(ask(), answer)))
    settle(state, over(ask(), answer), 2.5)
    assert books(state) == {(2.5, 0, 1)}


def test_a_late_end_of_unknown_cost_keeps_the_reservation() -> None:
    state, answer = lapsed()
    assert settle(state, over(ask(), answer), None).known is False
    assert books(state) == {(4, 4, 1)}
    assert state.lapsed == ()


def test_a_turn_that_was_taken_for_lost_and_never_began_costs_nothing_and_loses_its_line() -> None:
    state, answer = lapsed()
    settle(state, over(ask(), answer, "Cancelled", began=False), 0.0)
    assert books(state) == {(0, 0, 1)}
    assert [(end.turn, end.began) for end in state.unwritten] == [(answer.turn, False)]


def test_a_lost_turn_that_is_asked_for_again_had_only_waited() -> None:
    """The money that was booked for it is there for it."""
    state = turns.State(book=budget.Book(limits=budget.Limits(day_usd=4)))
    asked = ask(estimate_usd=4)
    first = turns.begin(state, asked, NOW)
    (lost,) = turn_ends.overdue(state, (), LATER)
    settle(state, lost, None)
    assert turns.decide(state, ask(2), LATER).reason is WaitReason.BUDGET
    again = turns.begin(state, asked, LATER)
    assert (again.verdict, again.turn != first.turn, again.reserved_usd) == (Verdict.GO, True, 4)
    assert books(state) == {(0, 0, 0)}
    assert [(end.turn, end.began) for end in state.unwritten] == [(first.turn, False)]


def test_a_turn_that_is_just_being_booked_as_lost_is_not_renewed_under_its_old_key() -> None:
    """The fleet writes the line of the lost turn meanwhile: what follows it takes the line back."""
    state = turns.State()
    first = turns.begin(state, ask(), NOW)
    (lost,) = turn_ends.overdue(state, (), LATER)
    again = turns.begin(state, ask(), LATER)
    assert again.turn != first.turn
    settle(state, lost, None)
    turn_ends.after_lost(state, lost)
    assert [lease.key for lease in state.leases] == [again.turn]
    assert [end.began for end in state.unwritten] == [True, False]
    assert books(state) == {(0, 0, 0)}


def test_an_end_that_crosses_the_booking_of_a_lost_turn_takes_its_line_back() -> None:
    state = turns.State()
    answer = turns.begin(state, ask(), NOW)
    (lost,) = turn_ends.overdue(state, (), LATER)
    settle(state, over(ask(), answer, "Cancelled", began=False), 0.0)
    settle(state, lost, None)
    turn_ends.after_lost(state, lost)
    assert [(end.turn, end.began) for end in state.unwritten] == [(answer.turn, False)]
    assert books(state) == {(0, 0, 1)}


def test_turns_that_their_run_knows_no_more_of_get_a_line() -> None:
    state = turns.State()
    first = turns.begin(state, ask(), NOW)
    turns.begin(state, ask(attempt=2), NOW)
    assert [(end.turn, end.outcome) for end in state.unwritten] == [(first.turn, pool.LOST)]


def test_a_late_end_of_a_lost_turn_frees_no_place_a_second_time() -> None:
    state, answer = lapsed()
    state.line.freed = {"dev-default": NOW}
    settle(state, over(ask(), answer), 1)
    assert state.line.freed == {"dev-default": NOW}


def test_only_the_newest_lost_turns_are_remembered() -> None:
    state = turns.State()
    for number in range(turn_ends.MOST_LAPSED + 5):
        turns.begin(state, ask(number), NOW)
    for lost in turn_ends.overdue(state, (), LATER):
        settle(state, lost, None)
    assert len(state.lapsed) == turn_ends.MOST_LAPSED
    assert len(state.model_dump_json()) < 400_000


def test_a_judgement_needs_no_agent_of_the_pool_and_takes_no_place() -> None:
    state = turns.State()
    state.pool.agents = ()
    answer = turns.begin(state, judge(), NOW)
    assert (answer.verdict, answer.instance, answer.provider, answer.reserved_usd) == (
        Verdict.GO,
        "judge:claude",
        "anthropic",
        2.0,
    )
    assert answer.begin_within_seconds is None


def test_a_judgement_counts_for_its_run_issue_repository_and_day() -> None:
    state = turns.State()
    answer = turns.begin(state, judge(run_id="r"), NOW)
    settle(state, over(judge(), answer), 0.25, NOW)
    assert set(state.book.tallies) == {key.id for key in budget.keys(judge().run, "r", REPO, 1, NOW)}
    assert books(state) == {(0.25, 0, 1)}


@pytest.mark.parametrize("scope", ["run_usd", "issue_usd", "repository_day_usd", "day_usd"])
def test_a_judgement_waits_when_any_budget_is_spent(scope: str) -> None:
    state = turns.State(book=budget.Book(limits=budget.Limits.model_validate({scope: 1})))
    settle(state, over(ask(), turns.begin(state, ask(), NOW)), 1, NOW)
    waiting = turns.decide(state, judge(), NOW)
    assert (waiting.verdict, waiting.reason) == (Verdict.WAIT, WaitReason.BUDGET)
    assert "fettle budget override" in waiting.sentence
    assert not turns.takes_a_place_in_line(state, judge(), waiting)


def test_a_provider_that_refused_a_judgement_is_left_alone_by_turns_and_the_reverse() -> None:
    state = turns.State()
    answer = turns.begin(state, judge(), NOW)
    settle(state, over(judge(), answer, errors.QuotaExhausted.wire_type(), retry_after_seconds=600.0), None, NOW)
    assert turns.decide(state, ask(2), NOW).reason is WaitReason.QUOTA
    assert turns.decide(state, judge(2), NOW).reason is WaitReason.QUOTA


def test_a_judgement_reserves_what_nine_in_ten_of_its_kind_have_cost() -> None:
    state = turns.State()
    for number in range(ledger.ENOUGH):
        settle(state, over(judge(number), turns.begin(state, judge(number), NOW)), 0.1, NOW)
    assert turns.begin(state, judge(90), NOW).reserved_usd == 0.1
    assert turns.begin(state, judge(91).model_copy(update={"type": "triage"}), NOW).reserved_usd == 2.0


def test_a_judgement_that_was_asked_and_not_told_is_booked_as_lost_by_the_next_one() -> None:
    state = turns.State()
    turns.begin(state, judge(round=1), NOW)
    turns.begin(state, judge(round=2), NOW)
    assert [lease.round for lease in state.leases] == [2]
    assert {t.unknown_usd for t in state.book.tallies.values()} == {2.0}


def test_a_judgement_is_lost_sooner_than_a_turn() -> None:
    state = turns.State()
    turns.begin(state, judge(), NOW)
    assert turn_ends.overdue(state, (), NOW + timedelta(minutes=19)) == ()
    assert len(turn_ends.overdue(state, (), NOW + timedelta(minutes=20))) == 1


def test_an_end_that_waits_for_the_ledger_keeps_its_reservation_and_is_told_once() -> None:
    state = turns.State()
    answer = turns.begin(state, judge(), NOW)
    ended = over(judge(), answer)
    for _ in range(2):
        turn_ends.check_tell(state, ended)
        turn_ends.tell(state, ended)
    assert state.unwritten == (ended,)
    assert state.reserved()[DAY.id] == 2.0
    assert turn_ends.overdue(state, (judge().run,), LATER) == ()
    turns.begin(state, judge(round=2), NOW)
    assert state.lease(answer.turn) is not None
    settle(state, ended, 0.5, NOW)
    turn_ends.written(state, ended)
    assert not state.unwritten
    with pytest.raises(errors.Refused, match="settled already"):
        turn_ends.check_tell(state, ended)


class Ledger:
    """One line a key, as the store keeps it."""

    def __init__(self) -> None:
        self.lines: dict[str, tuple[str, float | None]] = {}

    def end(self, state: turns.State, ended: EndTurn, cost: float | None, at: datetime) -> None:
        """What the activity does."""
        booked: float | None = 0.0
        if ended.began:
            line = self.lines.get(ended.turn)
            if line is None or (line[0] == pool.LOST and ended.outcome != pool.LOST):
                self.lines[ended.turn] = line = (ended.outcome, cost)
            booked = line[1]
        elif self.lines.get(ended.turn, ("",))[0] == pool.LOST:
            del self.lines[ended.turn]
        settlement = turn_ends.Settlement(ended=ended, cost_usd=booked)
        if turn_ends.is_news(state, settlement):
            turn_ends.settle(state, settlement, at)

    def write(self, state: turns.State, at: datetime) -> None:
        """What the fleet does with what it was told."""
        while state.unwritten:
            ended = state.unwritten[0]
            self.end(state, ended, ended.session_cost_usd, at)
            if ended.outcome == pool.LOST:
                turn_ends.after_lost(state, ended)
            turn_ends.written(state, ended)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["turn", "judgement", "end", "twice", "never", "tell", "silence", "write", "again"]),
            st.integers(0, 30),
            st.one_of(st.none(), st.floats(0, 2)),
        ),
        max_size=60,
    ),
    limit=st.floats(1, 20),
)
def test_whatever_the_order_of_ends_each_turn_is_booked_once_and_no_limit_is_passed_by_more_than_one(
    steps: list[tuple[str, int, float | None]], limit: float
) -> None:
    state, books_of, now, numbers = (
        turns.State(book=budget.Book(limits=budget.Limits(day_usd=limit))),
        Ledger(),
        NOW,
        count(),
    )
    known: list[tuple[BeginTurn, Answer]] = []
    costs: dict[str, tuple[bool, float | None]] = {}
    for what, which, cost in steps:
        spent = state.book.spent(DAY) + state.reserved().get(DAY.id, 0)
        if what in {"turn", "judgement"}:
            asked = (ask if what == "turn" else judge)(next(numbers), estimate_usd=2)
            answer = turns.begin(state, asked, now) if turns.decide(state, asked, now).verdict is Verdict.GO else None
            if answer is not None:
                known.append((asked, answer))
                assert spent + 2 <= limit + 2 + 1e-6
        elif what == "silence":
            for lost in turn_ends.overdue(state, [a.run for a, _ in known[: which // 8]], now):
                books_of.end(state, lost, None, now)
                turn_ends.after_lost(state, lost)
        elif what == "write":
            books_of.write(state, now)
        elif known:
            asked, answer = known[which % len(known)]
            if what == "again" and answer.turn not in costs:
                if turns.decide(state, asked, now).verdict is Verdict.GO:
                    known[which % len(known)] = (asked, turns.begin(state, asked, now))
                continue
            # What became of a turn is so once and for all, however often and by whom it is told.
            began, paid = costs.setdefault(answer.turn, (what != "never", 0.0 if what == "never" else cost))
            ended = over(asked, answer, began=began, session_cost_usd=paid)
            if what == "tell":
                if turn_ends.is_news(state, turn_ends.Settlement(ended=ended)):
                    turn_ends.tell(state, ended)
            else:
                for _ in range(2 if what == "twice" else 1):
                    books_of.end(state, ended, paid, now)
    books_of.write(state, now)
    booked = sum(2.0 if usd is None else usd for _, usd in books_of.lines.values())
    assert state.book.spent(DAY) == pytest.approx(booked, abs=1e-6)
    assert state.book.spent(DAY) + state.reserved().get(DAY.id, 0) <= limit + 2 + 1e-6
    assert len({lease.key for lease in (*state.leases, *state.lapsed)}) == len(state.leases) + len(state.lapsed)

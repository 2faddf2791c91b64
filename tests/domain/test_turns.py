"""One step decides whether a turn may begin: places, quotas and money, whoever asks in whatever order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import agent, budget, pool, quota, refs, roster, turn_ends, turns, waiting_line
from domain.pool import Answer, BeginTurn, EndTurn, Verdict, WaitReason
from domain.roster import Instance, Pool

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REPO = refs.Repository(owner="acme", name="api")
SECOND = timedelta(seconds=1)


def ask(number: int = 1, **given: object) -> BeginTurn:
    fields = {"run": f"issue/acme/api/{number}", "repo": REPO, "issue": number, "default_backend": "claude"}
    return BeginTurn.model_validate({**fields, **given})


def over(asked: BeginTurn, answer: Answer, outcome: str = "finished", **given: object) -> EndTurn:
    made = EndTurn.failed(asked, answer, error_type=outcome)
    return made.model_copy(update=given)


def settle(state: turns.State, ended: EndTurn, cost: float | None = 1.0, at: datetime = NOW) -> pool.Settled:
    return turn_ends.settle(state, turn_ends.Settlement(ended=ended, cost_usd=cost), at)


def with_agents(*agents: Instance, **given: object) -> turns.State:
    return turns.State(pool=Pool(agents=agents), **given)  # type: ignore[arg-type] # test arguments by name


def day_limit(usd: float) -> budget.Book:
    return budget.Book(limits=budget.Limits(day_usd=usd))


def test_a_fresh_fleet_grants_what_the_run_asks_for() -> None:
    answer = turns.begin(turns.State(), ask(model="opus", estimate_usd=3), NOW)
    assert answer == Answer(
        verdict=Verdict.GO,
        turn="issue/acme/api/1:1:1#1",
        instance="dev-default",
        backend="claude",
        model="opus",
        provider="anthropic",
        reserved_usd=3,
        begin_within_seconds=600,
    )


def test_asking_again_is_answered_with_the_same_grant() -> None:
    state = turns.State()
    first = turns.begin(state, ask(), NOW)
    again = turns.begin(state, ask(estimate_usd=9), NOW + SECOND)
    assert (again.turn, again.reserved_usd, len(state.leases)) == (first.turn, first.reserved_usd, 1)


def test_asking_again_renews_the_reservation() -> None:
    state = turns.State()
    turns.begin(state, ask(), NOW)
    before = state.leases[0].expires_at
    turns.begin(state, ask(), NOW + timedelta(hours=1))
    assert state.leases[0].expires_at == before + timedelta(hours=1)


def test_asking_again_tells_the_room_that_is_left_again() -> None:
    """Without it the agent's CLI would not be told what it may spend."""
    state = turns.State(book=day_limit(10))
    turns.begin(state, ask(1, estimate_usd=3), NOW)
    first = turns.begin(state, ask(2, estimate_usd=4), NOW)
    assert turns.begin(state, ask(2, estimate_usd=4), NOW + SECOND) == first
    assert first.room_usd == 7


def test_a_turn_that_waited_past_midnight_counts_for_the_day_on_which_it_begins() -> None:
    state, tomorrow = turns.State(book=day_limit(10)), NOW + timedelta(hours=13)
    for number in (1, 2, 3):
        turns.begin(state, ask(number, estimate_usd=5), NOW)
    turns.begin(state, ask(1), tomorrow)
    turns.begin(state, ask(4, estimate_usd=3), tomorrow)
    late = turns.begin(state, ask(2), tomorrow)
    assert (late.verdict, late.reason) == (Verdict.WAIT, WaitReason.BUDGET)
    assert {key: usd for key, usd in state.reserved().items() if key.startswith("day/")} == {
        "day/2026-03-01": 5,
        "day/2026-03-02": 8,
    }
    answer = turns.begin(state, ask(1), tomorrow)
    settle(state, over(ask(1), answer), 2, tomorrow)
    assert turns.begin(state, ask(2), tomorrow).verdict is Verdict.GO
    assert state.book.tallies["day/2026-03-02"].usd == 2


@pytest.mark.parametrize("seconds", [1e300, 9e13, float("inf")])
def test_a_wait_that_no_clock_has_is_the_longest_window(seconds: float) -> None:
    """The fleet must not fail on what a provider says."""
    state = turns.State()
    answer = turns.begin(state, ask(), NOW)
    settle(state, over(ask(), answer, "QuotaExhausted", retry_after_seconds=seconds), None)
    assert state.cool_downs.until("anthropic", NOW) == NOW + quota.LONGEST_ASKED
    event = agent.Event(kind=agent.EventKind.RETRY, retry_after_seconds=seconds)
    assert event.retry_after_seconds == quota.LONGEST_ASKED.total_seconds()


def test_a_turn_that_is_settled_may_be_asked_for_anew_under_another_key() -> None:
    state = turns.State()
    first = turns.begin(state, ask(), NOW)
    settle(state, over(ask(), first))
    assert turns.begin(state, ask(), NOW).turn != first.turn


def test_settling_twice_books_once() -> None:
    state = turns.State()
    answer = turns.begin(state, ask(), NOW)
    settle(state, over(ask(), answer), 2.5)
    assert not turn_ends.is_news(state, turn_ends.Settlement(ended=over(ask(), answer)))
    settle(state, over(ask(), answer), 2.5)
    assert {t.usd for t in state.book.tallies.values()} == {2.5}
    assert state.leases == ()


def test_another_attempt_at_the_same_round_takes_the_place_of_the_lost_one() -> None:
    state = turns.State()
    turns.begin(state, ask(), NOW)
    turns.begin(state, ask(attempt=2), NOW)
    assert [lease.turn for lease in state.leases] == ["issue/acme/api/1:1:2"]
    assert {t.unknown_usd for t in state.book.tallies.values()} == {2.0}


def test_an_unknown_cost_keeps_its_reservation_and_says_so() -> None:
    state = turns.State()
    answer = turns.begin(state, ask(estimate_usd=4), NOW)
    settled = settle(state, over(ask(), answer), None)
    assert (settled.cost_usd, settled.known) == (4, False)
    assert {t.unknown_usd for t in state.book.tallies.values()} == {4.0}


def test_an_unknown_cost_that_a_later_turn_tells_of_is_not_counted_twice() -> None:
    """A quota refusal tells no cost; the session's next total holds what it spent."""
    state = turns.State()
    answer = turns.begin(state, ask(estimate_usd=4), NOW)
    settle(state, over(ask(), answer, "AgentCrashed"), None)
    again = turns.begin(state, ask(round=2, estimate_usd=4), NOW)
    turn_ends.settle(state, turn_ends.Settlement(ended=over(ask(), again), cost_usd=3, covers_usd=4), NOW)
    assert {(t.usd, t.unknown_usd) for t in state.book.tallies.values()} == {(3.0, 0.0)}


def test_what_becomes_known_of_yesterdays_turn_takes_nothing_of_another_issue_away() -> None:
    state, tomorrow = turns.State(), NOW + timedelta(hours=13)
    settle(state, over(ask(), turns.begin(state, ask(estimate_usd=4), NOW), "AgentCrashed"), None)
    other = turns.begin(state, ask(2, estimate_usd=2), tomorrow)
    settle(state, over(ask(2), other), None, tomorrow)
    again = turns.begin(state, ask(round=2), tomorrow)
    turn_ends.settle(state, turn_ends.Settlement(ended=over(ask(), again), cost_usd=3, covers_usd=4), tomorrow)
    today = state.book.tallies["day/2026-03-02"]
    assert (today.usd, today.unknown_usd) == (5, 2)
    assert state.book.tallies["issue/acme/api#1"].usd == 3


def test_the_agents_backend_model_image_and_appendix_make_the_grant() -> None:
    state = with_agents(
        Instance(name="sec", backend="codex", model="big", image="img", prompt_appendix="Careful.", match_labels=("s",))
    )
    answer = turns.begin(state, ask(labels=("s",), model="opus"), NOW)
    assert (answer.backend, answer.model, answer.image, answer.appendix, answer.provider) == (
        "codex",
        "big",  # the run's own model is a model of claude
        "img",
        "Careful.",
        "openai",
    )


def test_the_runs_own_model_goes_before_the_agents() -> None:
    state = with_agents(Instance(name="a", model="small"))
    assert turns.begin(state, ask(model="opus"), NOW).model == "opus"
    assert turns.begin(state, ask(2), NOW).model == "small"


def test_nobody_for_the_turn_is_a_refusal_not_a_wait() -> None:
    assert turns.decide(turns.State(), ask(type="planner"), NOW).verdict is Verdict.REFUSE


def test_a_provider_that_refused_one_run_makes_all_of_its_runs_wait() -> None:
    state = turns.State()
    first = turns.begin(state, ask(), NOW)
    turns.begin(state, ask(2), NOW)
    settle(state, over(ask(), first, "QuotaExhausted", retry_after_seconds=600.0), None)
    waiting = turns.decide(state, ask(3), NOW)
    assert (waiting.verdict, waiting.reason, waiting.until) == (Verdict.WAIT, WaitReason.QUOTA, NOW + 600 * SECOND)
    assert "anthropic refuses turns until 2026-03-01 12:10:00 UTC" in waiting.sentence
    assert turns.decide(state, ask(4, backend="codex"), NOW).verdict is Verdict.GO


def test_after_the_window_the_runs_come_back_one_by_one_until_one_is_answered() -> None:
    state = turns.State()
    first = turns.begin(state, ask(), NOW)
    settle(state, over(ask(), first, "QuotaExhausted", retry_after_seconds=60.0), None)
    opened = NOW + 60 * SECOND
    second = turns.begin(state, ask(2), opened)
    assert second.verdict is Verdict.GO
    assert turns.decide(state, ask(3), opened).reason is WaitReason.QUOTA
    assert turns.decide(state, ask(3), opened + 10 * SECOND).verdict is Verdict.GO
    settle(state, over(ask(2), second), 1, opened + SECOND)
    assert turns.decide(state, ask(3), opened + SECOND).verdict is Verdict.GO


def test_a_declared_fall_back_goes_round_a_provider_that_refuses_and_no_other_does() -> None:
    state = turns.State()
    first = turns.begin(state, ask(), NOW)
    settle(state, over(ask(), first, "QuotaExhausted", retry_after_seconds=600.0), None)
    answer = turns.begin(state, ask(2, fallbacks=("codex", "gemini")), NOW)
    assert (answer.verdict, answer.backend) == (Verdict.GO, "codex")
    settle(state, over(ask(2), answer, "QuotaExhausted", retry_after_seconds=600.0), None)
    assert turns.begin(state, ask(3, fallbacks=("codex", "gemini")), NOW).backend == "gemini"
    waiting = turns.decide(state, ask(4), NOW)
    assert (waiting.reason, waiting.until) == (WaitReason.QUOTA, NOW + 600 * SECOND)


def test_a_fall_back_is_not_for_want_of_money() -> None:
    state = turns.State(book=day_limit(0))
    assert turns.decide(state, ask(fallbacks=("codex",)), NOW).reason is WaitReason.BUDGET


def test_a_full_agent_is_waited_for_and_freed_by_the_end_of_a_turn() -> None:
    state = with_agents(Instance(name="one", max_parallel=1))
    first = turns.begin(state, ask(1), NOW)
    waiting = turns.begin(state, ask(2), NOW)
    assert (waiting.verdict, waiting.reason) == (Verdict.WAIT, WaitReason.SLOT)
    assert "one: 1 of 1 places taken" in waiting.sentence
    settle(state, over(ask(1), first))
    assert turns.begin(state, ask(2), NOW).verdict is Verdict.GO
    assert state.line.waiters == ()


def test_a_wait_is_written_down_once() -> None:
    state = with_agents(Instance(name="one", max_parallel=1))
    turns.begin(state, ask(1), NOW)
    waiting = turns.decide(state, ask(2), NOW)
    assert turns.takes_a_place_in_line(state, ask(2), waiting)
    turns.begin(state, ask(2), NOW)
    assert not turns.takes_a_place_in_line(state, ask(2), turns.decide(state, ask(2), NOW))


def test_a_free_place_goes_to_who_came_first_and_urgent_ones_go_before() -> None:
    state = with_agents(Instance(name="one", max_parallel=1))
    holder = ask(1)
    granted = turns.begin(state, holder, NOW)
    for number in (2, 3, 4):
        turns.begin(state, ask(number, priority=1 if number == 4 else 3), NOW)
    order = []
    for _ in range(3):
        settle(state, over(holder, granted), at=NOW)
        asking = [n for n in (2, 3, 4) if n not in order]
        ready = [n for n in asking if turns.decide(state, ask(n, priority=1 if n == 4 else 3), NOW).verdict == "go"]
        assert len(ready) == 1
        order += ready
        holder = ask(ready[0], priority=1 if ready[0] == 4 else 3)
        granted = turns.begin(state, holder, NOW)
    assert order == [4, 2, 3]


def test_a_newcomer_does_not_pass_who_waits() -> None:
    state = with_agents(Instance(name="one", max_parallel=1))
    granted = turns.begin(state, ask(1), NOW)
    turns.begin(state, ask(2), NOW)
    settle(state, over(ask(1), granted), at=NOW)
    newcomer = turns.decide(state, ask(3), NOW + SECOND)
    assert (newcomer.reason, newcomer.sentence) == (
        WaitReason.SLOT,
        "one: a free place is for one of 1 turns that came earlier",
    )


def test_who_does_not_ask_any_more_keeps_a_place_from_nobody_for_long() -> None:
    """Its run was stopped while it stood in line: nothing tells the fleet."""
    state = with_agents(Instance(name="one", max_parallel=1))
    granted = turns.begin(state, ask(1), NOW)
    for number in (2, 3):
        turns.begin(state, ask(number), NOW)
    settle(state, over(ask(1), granted), at=NOW)
    kept = waiting_line.OWN_TURN_SECONDS * SECOND
    assert turns.decide(state, ask(3), NOW + kept - SECOND).verdict is Verdict.WAIT
    assert turns.begin(state, ask(3), NOW + kept).verdict is Verdict.GO
    assert state.line.waiters == ()


def test_a_turn_of_another_agent_is_not_kept_waiting_by_the_line() -> None:
    state = with_agents(Instance(name="one", max_parallel=1), Instance(name="sec", match_labels=("s",), max_parallel=1))
    turns.begin(state, ask(1), NOW)
    turns.begin(state, ask(2), NOW)
    assert turns.decide(state, ask(3, labels=("s",)), NOW).verdict is Verdict.GO


def test_more_places_are_given_at_once() -> None:
    state = with_agents(Instance(name="one", max_parallel=1))
    turns.begin(state, ask(1), NOW)
    turns.begin(state, ask(2), NOW)
    change = roster.Change(by="ann", kind=roster.Kind.EDIT, name="one", given={"max_parallel": 2})
    turns.change_agents(state, change, NOW)
    assert turns.begin(state, ask(2), NOW).verdict is Verdict.GO


def test_lost_turns_are_found_by_the_end_of_their_run_and_by_their_age() -> None:
    state = turns.State()
    for number in (1, 2, 3):
        turns.begin(state, ask(number, turn_seconds=60), NOW)
    assert turn_ends.runs_to_look_at(state, NOW, timedelta(minutes=10)) == ()
    later = NOW + timedelta(minutes=10)
    assert len(turn_ends.runs_to_look_at(state, later, timedelta(minutes=10))) == 3
    (lost,) = turn_ends.overdue(state, ("issue/acme/api/2",), later)
    assert (lost.run, lost.outcome, lost.session_cost_usd) == ("issue/acme/api/2", pool.LOST, None)
    settle(state, lost, None, later)
    assert [lease.run for lease in state.leases] == ["issue/acme/api/1", "issue/acme/api/3"]
    assert len(turn_ends.overdue(state, (), NOW + timedelta(hours=2))) == 2


def test_the_room_that_is_left_comes_with_the_grant() -> None:
    state = turns.State(book=day_limit(10))
    assert turns.begin(state, ask(1, estimate_usd=4), NOW).room_usd == 10
    assert turns.begin(state, ask(2, estimate_usd=4), NOW).room_usd == 6


def test_a_result_of_run_agent_becomes_its_end() -> None:
    asked, answer = ask(), turns.begin(turns.State(), ask(), NOW)
    result = agent.TurnResult(
        outcome=agent.Outcome.FINISHED,
        session=agent.Session(backend="claude", id="s", version="2.1"),
        cost_usd=3,
        turn_cost_usd=1,
        usage=agent.Usage(output_tokens=7),
    )
    ended = EndTurn.finished(asked, answer, result)
    assert (ended.turn, ended.session_id, ended.version, ended.outcome) == (answer.turn, "s", "2.1", "finished")
    assert (ended.session_cost_usd, ended.turn_cost_usd, ended.usage) == (3, 1, agent.Usage(output_tokens=7))


def test_the_state_survives_its_own_json() -> None:
    """It is the input of the fleet's next run."""
    state = with_agents(Instance(name="one", max_parallel=1), book=day_limit(9))
    first = turns.begin(state, ask(1), NOW)
    turns.begin(state, ask(2), NOW)
    settle(state, over(ask(1), first, "QuotaExhausted"), None)
    assert turns.State.model_validate_json(state.model_dump_json()) == state


def test_a_full_fleets_state_fits_a_payload() -> None:
    agents = [Instance(name=f"agent-{n}", prompt_appendix="x" * 4000) for n in range(roster.MOST_AGENTS)]
    state = with_agents(*agents)
    for number in range(300):
        turns.begin(state, ask(number, run="issue/" + "o" * 100 + f"/r/{number}"), NOW)
    for number in range(budget.MOST_TALLIES):
        at = NOW + number * SECOND
        sums = budget.keys(f"issue/{'o' * 60}/r/{number}", "r" * 36, REPO, number, at)
        state.book.settle(sums, 1, known=True, now=at)
    assert len(state.model_dump_json()) < 2 * 1024 * 1024


@pytest.mark.parametrize("runs", [20])
@given(
    costs=st.lists(st.floats(0, 3), min_size=20, max_size=60),
    limit=st.floats(1, 30),
    order=st.randoms(use_true_random=False),
)
def test_twenty_parallel_runs_never_pass_a_limit_by_more_than_one_reserved_turn(
    runs: int, costs: list[float], limit: float, order: object
) -> None:
    """Each run asks, works and settles in an order of its own; a turn costs up to what it reserved."""
    state, open_turns, number = turns.State(book=day_limit(limit)), [], 0
    day = budget.Key(scope=budget.Scope.DAY, name="2026-03-01")
    for cost in costs:
        while len(open_turns) < runs:
            number += 1
            asked = ask(number, estimate_usd=3)
            answer = turns.begin(state, asked, NOW)
            if answer.verdict is not Verdict.GO:
                break
            open_turns.append((asked, answer))
        if not open_turns:
            break
        asked, answer = open_turns.pop(order.randrange(len(open_turns)))  # type: ignore[attr-defined] # a Random
        settle(state, over(asked, answer), cost)
        assert state.book.spent(day) + state.reserved().get(day.id, 0) <= limit + 3 + 1e-6


def test_what_an_earlier_execution_of_the_run_has_left_keeps_it_from_nothing() -> None:
    """A run that was terminated gives nothing back, and its workflow id is open again when it is retried."""
    state = with_agents(Instance(name="only", max_parallel=1))
    turns.begin(state, ask(run_id="old", round=3), NOW)
    again = ask(run_id="new", round=1)
    assert turns.decide(state, again, NOW).verdict is Verdict.GO
    assert [lease.run_id for lease in state.leases] == ["old"]  # to look changes nothing
    turns.begin(state, again, NOW)
    assert [lease.run_id for lease in state.leases] == ["new"]


def test_the_same_turn_of_another_execution_has_a_grant_of_its_own() -> None:
    state = turns.State()
    old = turns.begin(state, ask(run_id="old", backend="claude"), NOW)
    new = turns.begin(state, ask(run_id="new", backend="codex"), NOW)
    assert (old.backend, new.backend) == ("claude", "codex")
    assert [lease.run_id for lease in state.leases] == ["new"]

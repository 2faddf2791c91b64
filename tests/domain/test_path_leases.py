"""Who waits for whose files, as pure state."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import decisions, errors, fleet, path_leases, policy, refs, run, steps, triage, words

REPO = refs.Repository(owner="acme", name="shop")
LIMIT = policy.RepositoryPolicy().max_collision
Chances = Mapping[frozenset[str], float]


def name(number: int) -> str:
    return REPO.issue(number).workflow_id


def asks(number: int, **more: object) -> fleet.AdmissionRequest:
    return fleet.AdmissionRequest.model_validate(
        {"run": name(number), "max_collision": LIMIT, "base_branch": "main", "max_in_flight": 3, **more}
    )


def colliding(*pairs: tuple[int, int]) -> Chances:
    return {frozenset({name(one), name(other)}): 0.46 for one, other in pairs}


def opened() -> fleet.RepositoryState:
    return fleet.RepositoryState(repo=REPO, settings=fleet.Settings())


def settle(state: fleet.RepositoryState, chances: Chances) -> list[path_leases.Question]:
    """What the repository's loop does until it has to wait; the questions it asked."""
    asked = []
    for _ in range(1000):
        if (chosen := state.next_admission()) is not None:
            state.admit(chosen)
        elif (told := state.untold()) is not None:
            state.told(*told)
        elif (question := state.next_comparison()) is not None:
            asked.append(question)
            pairs = [
                path_leases.Pair(run=other, probability=chances.get(frozenset({question.run, other}), 0.1))
                for other in question.others
            ]
            state.compare(question, path_leases.Forecast(pairs=tuple(pairs)))
        else:
            return asked
    raise AssertionError("the loop does not come to rest")


def test_the_first_run_of_a_repository_is_admitted_unasked() -> None:
    state = opened()
    assert state.admit_or_queue(asks(1))
    assert not state.admit_or_queue(asks(2))
    assert state.next_comparison() == path_leases.Question(
        repo=REPO, run=name(2), others=(name(1),), base_branch="main"
    )


def test_a_request_of_before_path_leases_is_admitted_beside_others() -> None:
    """Its history replays as it was made."""
    state = opened()
    old = fleet.AdmissionRequest.model_validate({"run": name(1), "max_in_flight": 3})
    assert state.admit_or_queue(old)
    assert state.admit_or_queue(old.model_copy(update={"run": name(2)}))


def test_nobody_is_asked_while_no_place_is_free() -> None:
    state = opened()
    for number in (1, 2):
        state.ask(asks(number, max_in_flight=1))
    assert settle(state, {}) == []
    state.ended(name(1))
    assert settle(state, {}) == []
    assert state.running == (name(2),)


def test_a_pair_is_asked_once_whatever_happens_meanwhile() -> None:
    state = opened()
    chances = colliding((1, 2))
    asked = []
    for number in (1, 2, 3):
        state.ask(asks(number))
        asked += settle(state, chances)
    state.ended(name(3))
    asked += settle(state, chances)
    state.ask(asks(2, priority=1))
    asked += settle(state, chances)
    assert [(q.run, q.others) for q in asked] == [(name(2), (name(1),)), (name(3), (name(1), name(2)))]
    assert [pair.run for pair in state.behind(name(2))] == [name(1)]


def test_a_text_that_holds_back_is_asked_once_more_when_the_other_one_has_pushed() -> None:
    state = opened()
    for number in (1, 2):
        state.ask(asks(number))
        settle(state, colliding((1, 2)))
    state.after_push([name(1)])
    assert [q.others for q in settle(state, colliding((1, 2)))] == [(name(1),)]
    for _ in range(3):
        state.after_push([name(1)])
        assert settle(state, {}) == []
    assert [pair.run for pair in state.behind(name(2))] == [name(1)]


def test_what_was_foretold_by_pushed_work_stands() -> None:
    state = opened()
    for number in (1, 2):
        state.ask(asks(number))
    state.admit(name(1))
    question = state.next_comparison()
    assert question is not None
    pair = path_leases.Pair(run=name(1), probability=0.9, pushed=True)
    state.compare(question, path_leases.Forecast(pairs=(pair,)))
    state.after_push([name(1)])
    assert state.next_comparison() is None
    assert state.behind(name(2)) == (pair,)


def test_a_missing_forecast_admits_and_its_reason_lives_as_long_as_the_run() -> None:
    state = opened()
    for number in (1, 2):
        state.ask(asks(number))
    state.admit(name(1))
    question = state.next_comparison()
    assert question is not None
    state.compare(question, path_leases.Forecast(missing="no agent host took the question up"))
    settle(state, {})
    assert state.unforeseen == {name(2): "no agent host took the question up"}
    state.ended(name(2))
    assert state.unforeseen == {}


def test_an_answer_about_a_run_that_has_left_the_line_says_nothing() -> None:
    state = opened()
    for number in (1, 2):
        state.ask(asks(number))
    state.admit(name(1))
    question = state.next_comparison()
    assert question is not None
    state.ended(name(2))
    before = state.model_copy(deep=True)
    state.compare(question, path_leases.Forecast(missing="too late"))
    assert state == before


def test_who_is_let_go_on_by_a_person_keeps_its_turn_in_line() -> None:
    state = opened()
    chances = colliding((1, 2), (1, 3))
    for number in (1, 2, 3):
        state.ask(asks(number, max_in_flight=2))
        settle(state, chances)
    state.ask(asks(4, max_in_flight=2, max_collision=path_leases.NEVER))
    settle(state, chances)
    assert state.running == (name(1), name(4))
    state.ask(asks(2, max_in_flight=2, max_collision=path_leases.NEVER))
    assert state.behind(name(2)) == ()
    state.ended(name(4))
    assert state.next_admission() == name(2)


def test_those_that_pass_a_run_never_hold_it_back() -> None:
    """Whatever the forecast would be the other way round, and when they have pushed their work: each would be followed
    by the next one."""
    state = opened()
    backwards = {frozenset({name(2), name(other)}): 0.46 for other in range(3, 9)}
    for number in (1, 2):
        state.ask(asks(number))
        settle(state, colliding((1, 2)))
    for number in range(3, 9):
        state.ask(asks(number))
        settle(state, {})
        assert name(number) in state.running
        if number > 3:
            state.ended(name(number - 1))
    state.ended(name(1))
    assert settle(state, backwards) == []
    assert name(2) in state.running


def test_who_overtakes_a_run_that_it_collides_with_is_asked_about_again() -> None:
    """Somebody let it go on, or made it more urgent."""
    for again in (asks(3, max_collision=path_leases.NEVER), asks(3, priority=2)):
        state = opened()
        chances = colliding((1, 2), (2, 3))
        for number in (1, 2, 3):
            state.ask(asks(number))
            settle(state, chances)
        state.ask(again)
        settle(state, chances)
        assert state.running == (name(1), name(3))
        state.ended(name(1))
        settle(state, chances)
        assert [pair.run for pair in state.behind(name(2))] == [name(3)]


def test_a_run_that_asks_again_is_told_again_for_whom_it_waits() -> None:
    """It may be another execution under the same name, which knows nothing."""
    state = opened()
    chances = colliding((1, 2))
    for number in (1, 2):
        state.ask(asks(number))
        settle(state, chances)
    assert state.untold() is None
    state.ask(asks(2))
    assert state.untold() == (name(2), state.behind(name(2)))
    settle(state, chances)
    state.ask(asks(2, max_collision=path_leases.NEVER, max_in_flight=1))
    assert state.untold() == (name(2), ())


def test_a_run_of_before_path_leases_that_asks_again_is_told_nothing() -> None:
    state = opened()
    for number in (1, 2, 2):
        state.ask(asks(number, max_in_flight=1, max_collision=path_leases.NEVER))
        settle(state, {})
    assert state.untold() is None
    assert state.in_line(name(2))


def test_an_answer_says_nothing_of_a_run_that_has_ended_meanwhile() -> None:
    """It may come back, with another text."""
    state = opened()
    for number in (1, 2, 3):
        state.ask(asks(number, max_in_flight=2))
    state.admit(name(1))
    question = state.next_comparison()
    assert question is not None
    state.ended(name(1))
    state.compare(question, path_leases.Forecast(pairs=(path_leases.Pair(run=name(1), probability=0.9),)))
    assert next(w.outlook for w in state.waiting if w.run == name(2)) == path_leases.Outlook()


def test_behind_ten_that_are_held_back_nobody_passes_but_those_a_person_let_go() -> None:
    state = opened()
    many = range(2, 2 + path_leases.MOST_HELD_BACK)
    chances = colliding(*((1, number) for number in many))
    for number in (1, *many):
        state.ask(asks(number, max_in_flight=50))
        settle(state, chances)
    state.ask(asks(100, max_in_flight=50))
    assert settle(state, chances) == []
    assert state.running == (name(1),)
    assert state.admit_or_queue(asks(101, max_in_flight=50, max_collision=path_leases.NEVER))


def test_a_question_names_a_bounded_number_of_runs() -> None:
    state = opened()
    state.running = tuple(map(name, range(1, 100)))
    state.ask(asks(200, max_in_flight=500))
    question = state.next_comparison()
    assert question is not None
    assert question.others == state.running[-path_leases.MOST_IN_FLIGHT :]
    settle(state, {})
    assert name(200) in state.running


def test_the_state_of_a_busy_repository_with_long_names_fits_into_one_message() -> None:
    state = opened()
    state.running = tuple(map(name, range(1, 41)))
    files = tuple("\u6f22" * 160 for _ in range(path_leases.MOST_FILES))
    for priority in (5, 4, 3, 2):
        for number in range(20):
            state.ask(asks(1000 * priority + number, priority=priority, max_in_flight=1000))
        while (question := state.next_comparison()) is not None:
            pairs = (path_leases.Pair(run=other, probability=0.5, files=files) for other in question.others)
            state.compare(question, path_leases.Forecast(pairs=tuple(pairs)))
    assert len(state.held_back()) == 4 * path_leases.MOST_HELD_BACK
    assert len(state.model_dump_json().encode()) < 1_000_000


numbers = st.integers(1, 8)
pairs = st.sets(st.sampled_from(list(itertools.combinations(range(1, 9), 2))), max_size=14)


@given(pairs, st.lists(st.tuples(st.sampled_from(["ask", "end"]), numbers, st.integers(1, 3)), max_size=40))
def test_colliding_runs_never_work_at_once_and_everybody_gets_a_place(
    collide: set[tuple[int, int]], events: list[tuple[str, int, int]]
) -> None:
    state, chances = opened(), colliding(*collide)

    def check() -> None:
        together = {frozenset(two) for two in itertools.combinations(state.running, 2)}
        assert not together & chances.keys()
        assert len(state.running) <= 3
        assert state.running or not state.waiting, "nobody works and somebody waits"

    for kind, number, priority in events:
        if kind == "end":
            state.ended(name(number))
        elif name(number) not in state.running:
            state.ask(asks(number, priority=priority))
        settle(state, chances)
        check()
    for _ in range(20):
        if not state.running:
            break
        state.ended(state.running[0])
        settle(state, chances)
        check()
    assert (state.running, state.waiting) == ((), ())


@given(pairs)
def test_nobody_who_collides_with_a_run_that_waits_begins_before_it(collide: set[tuple[int, int]]) -> None:
    state, chances = opened(), colliding((1, 2), *collide)
    for number in range(1, 9):
        state.ask(asks(number, max_in_flight=8))
        settle(state, chances)
    passed = set(state.running) - {name(1)}
    assert name(2) not in passed
    assert not {frozenset({name(2), each}) for each in passed} & chances.keys()
    state.ended(name(1))
    settle(state, chances)
    assert name(2) in state.running


# --- what the run itself knows and says -----------------------------------------------------------------------------


def waiting(*behind: path_leases.Pair) -> run.State:
    return run.State(
        issue=REPO.issue(13), opened=True, triage=triage.Triage(), claimed=True, admission_asked=True, behind=behind
    )


PAIR = path_leases.Pair(run=name(12), probability=0.46, files=("cart.py",))


def test_the_words_name_the_other_run_its_files_and_how_likely_it_is() -> None:
    assert path_leases.sentence((PAIR,)) == "acme/shop#12, which is likely (46 %) to change cart.py too"
    several = PAIR.model_copy(update={"files": ("a.py", "b.py", "c.py", "d.py")})
    assert several.words().endswith("to change a.py, b.py, c.py too")
    assert (
        path_leases.Pair(run="other", probability=0.3)
        .words()
        .endswith("other, which is likely (30 %) to change the same files too")
    )
    assert path_leases.sentence((PAIR, several)).endswith("too; and for 1 more")


def test_a_run_that_waits_for_files_shows_a_conflict_and_needs_nobody() -> None:
    state = waiting(PAIR)
    assert (state.hold_label(), state.hold) == ("conflict", None)
    assert steps.next_step(state) is steps.Step.ADMIT
    assert "waits for acme/shop#12, which is likely (46 %)" in words.card(state, "await admission")
    for over in ({"admitted": True}, {"ending": run.Ending(phase=run.Phase.CANCELLED, reason="not needed")}):
        assert state.model_copy(update=over).hold_label() == ""


def test_a_release_ends_the_wait_for_files_and_asks_for_the_place_again() -> None:
    state = waiting(PAIR)
    request = run.HoldRequest(by="ann")
    decisions.check_release(state, request)
    decisions.release(state)
    assert (state.max_collision, state.admission_asked, state.hold_label()) == (path_leases.NEVER, False, "")
    with pytest.raises(errors.Refused, match="is not held"):
        decisions.check_release(state, request)


def test_a_release_lifts_a_persons_hold_before_it_ends_the_wait() -> None:
    state = waiting(PAIR)
    state.hold = run.Hold(kind=run.HoldKind.USER, by="ann")
    assert state.hold_label() == "user"
    decisions.check_release(state, run.HoldRequest(by="ann"))
    decisions.release(state)
    assert (state.hold, state.leases_waived, state.hold_label()) == (None, False, "conflict")

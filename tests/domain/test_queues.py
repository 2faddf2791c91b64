"""Admission and the merge queue, as pure state."""

from hypothesis import given
from hypothesis import strategies as st

from domain import fleet, merge_queue, refs
from domain.merge_queue import Entry

REPO = refs.Repository(owner="acme", name="api")


def entry(number: int, head: str = "a" * 40, priority: int = 3) -> Entry:
    return Entry(run=f"issue/acme/api/{number}", pull=REPO.pull(number), head_sha=head, priority=priority)


def queue() -> merge_queue.State:
    return merge_queue.State(repo=REPO, branch="main")


def test_entries_are_taken_in_order_and_urgent_ones_first() -> None:
    state = queue()
    for item in (entry(1), entry(2), entry(3, priority=1)):
        state.request(item)
    taken = []
    while (item := state.take()) is not None:
        taken.append(item.pull.number)
        state.finish("", merge_queue.Ended(head_sha="", end=merge_queue.End.MERGED))
    assert taken == [3, 1, 2]


def test_requesting_twice_keeps_one_entry() -> None:
    state = queue()
    state.request(entry(1))
    state.request(entry(1))
    assert len(state.entries) == 1
    state.take()
    state.request(entry(1))
    assert state.entries == ()


def test_a_newer_head_takes_the_place_of_the_older() -> None:
    state = queue()
    state.request(entry(1))
    state.request(entry(1, head="b" * 40))
    assert [e.head_sha for e in state.entries] == ["b" * 40]


def test_a_newer_head_withdraws_the_one_in_work() -> None:
    state = queue()
    state.request(entry(1))
    state.take()
    state.request(entry(1, head="b" * 40))
    assert state.withdrawn
    assert len(state.entries) == 1


def test_a_run_with_room_is_admitted_in_the_answer_and_a_second_time_too() -> None:
    state = fleet.RepositoryState(repo=REPO, settings=fleet.Settings(), max_in_flight=1)
    request = fleet.AdmissionRequest(run="r1", max_in_flight=1)
    assert state.admit_or_queue(request)
    assert state.admit_or_queue(request)
    assert state.running == ("r1",)
    assert not state.admit_or_queue(fleet.AdmissionRequest(run="r2", max_in_flight=1))
    assert [w.run for w in state.waiting] == ["r2"]


def test_a_run_that_asks_does_not_pass_those_in_line() -> None:
    state = fleet.RepositoryState(repo=REPO, settings=fleet.Settings(paused=True))
    assert not state.admit_or_queue(fleet.AdmissionRequest(run="r1"))
    state.configure(fleet.Settings(revision=1))
    assert not state.admit_or_queue(fleet.AdmissionRequest(run="r2"))
    assert state.next_admission() == "r1"


def test_nobody_is_admitted_before_the_fleet_has_answered() -> None:
    state = fleet.RepositoryState(repo=REPO)
    state.ask(fleet.AdmissionRequest(run="r1"))
    assert state.next_admission() is None
    state.configure(fleet.Settings())
    assert state.next_admission() == "r1"


def test_a_pause_admits_nobody_and_a_late_old_setting_does_not_lift_it() -> None:
    state = fleet.RepositoryState(repo=REPO)
    state.configure(fleet.Settings(paused=True, revision=2))
    state.configure(fleet.Settings(paused=False, revision=1))
    state.ask(fleet.AdmissionRequest(run="r1"))
    assert state.next_admission() is None


def test_a_run_that_asks_again_is_told_again_first() -> None:
    state = fleet.RepositoryState(repo=REPO, settings=fleet.Settings(), max_in_flight=1)
    state.ask(fleet.AdmissionRequest(run="r1", max_in_flight=1))
    state.admit("r1")
    state.ask(fleet.AdmissionRequest(run="r2", priority=1, max_in_flight=1))
    state.ask(fleet.AdmissionRequest(run="r1", max_in_flight=1))
    assert state.next_admission() == "r1"


@given(st.lists(st.tuples(st.sampled_from(["ask", "admit", "end"]), st.integers(0, 6)), max_size=60))
def test_no_sequence_of_messages_admits_more_than_the_cap(events: list[tuple[str, int]]) -> None:
    state = fleet.RepositoryState(repo=REPO, settings=fleet.Settings(), max_in_flight=2)
    for kind, number in events:
        if kind == "ask":
            state.ask(fleet.AdmissionRequest(run=f"r{number}", max_in_flight=2))
        elif kind == "end":
            state.ended(f"r{number}")
        elif (chosen := state.next_admission()) is not None:
            state.admit(chosen)
        assert len(state.running) <= 2
        assert len(set(state.running)) == len(state.running)
        assert not set(state.running) & {w.run for w in state.waiting}


def test_the_fleet_tells_every_repository_after_a_change() -> None:
    state = fleet.FleetState()
    state.seen(REPO)
    state.untold = ()
    from datetime import UTC, datetime

    state.apply(fleet.Change(by="ann", paused=True), datetime(2026, 1, 1, tzinfo=UTC))
    assert state.untold == (REPO,)
    assert state.settings.revision == 1


def test_a_limit_of_one_state_holds_back_that_state_alone() -> None:
    state = fleet.RepositoryState(repo=REPO, settings=fleet.Settings(), max_in_flight=9)
    reviewing = {"state": "in review", "state_limit": 1, "max_in_flight": 9}
    assert state.admit_or_queue(fleet.AdmissionRequest(run="r1", **reviewing))
    assert not state.admit_or_queue(fleet.AdmissionRequest(run="r2", **reviewing))
    assert state.admit_or_queue(fleet.AdmissionRequest(run="r3", state="todo", max_in_flight=9))
    state.ended("r1")
    assert state.next_admission() == "r2"


def test_a_withdrawal_that_crosses_the_queues_word_is_answered_with_that_word() -> None:
    """Two answers would race, and a merge that was made could be told as withdrawn."""
    head = "a" * 40
    withdrawal = merge_queue.Withdrawal(run="r1", head_sha=head, reason="cancelled")
    state = merge_queue.State(repo=REPO, branch="main")
    state.finish("r1", merge_queue.Ended(head_sha=head, end=merge_queue.End.MERGED, merge_sha="b" * 40))
    assert state.word_on(withdrawal).end is merge_queue.End.MERGED
    assert state.word_on(withdrawal.model_copy(update={"head_sha": "c" * 40})).end is merge_queue.End.WITHDRAWN
    assert state.word_on(withdrawal.model_copy(update={"run": "r2"})).end is merge_queue.End.WITHDRAWN
    state.request(merge_queue.Entry(run="r1", pull=REPO.pull(7), head_sha=head))
    assert state.word_on(withdrawal).end is merge_queue.End.WITHDRAWN

"""What people read: the card is Markdown that a browser shows as a list, and one file is not "1 files"."""

import pytest

from domain import implement, outcomes, refs, review, run, tasks, words, work

ISSUE = refs.Repository.parse("acme/api").issue(7)


def changed(*files: str) -> run.State:
    change = run.Change(head_sha="a" * 40, files=files, added_lines=3, removed_lines=1)
    return run.State(issue=ISSUE, title="It is slow", change=change)


def test_the_cards_list_begins_after_an_empty_line() -> None:
    lines = words.card(changed("a.py"), "review").splitlines()
    assert lines[:2] == ["**acme/api#7** It is slow", ""]
    assert lines[2:]
    assert all(line.startswith("- ") for line in lines[2:])


@pytest.mark.parametrize(("files", "counted"), [(("a.py",), "1 file,"), (("a.py", "b.py"), "2 files,")])
def test_files_are_counted_in_words_that_fit(files: tuple[str, ...], counted: str) -> None:
    assert f"\n{counted} +3" in words.pull_body(changed(*files), "")
    assert f" {counted} +3" in review.by_rules("a" * 40, files, 3, 1, ()).summary


def test_a_change_of_many_files_is_counted_in_whole_and_says_of_which_it_speaks() -> None:
    done = work.Integration(
        outcome=work.IntegrationOutcome.PUSHED, files=(*(f"a{n}.py" for n in range(300)), "tests/test_a.py")
    )
    state = run.State(issue=ISSUE)
    ending = implement.Ending(outcome=implement.Outcome.READY)
    outcomes.after_round(state, implement.Result(ending=ending, head_sha="a" * 40, integration=done))
    assert state.change is not None
    change = state.change
    assert len(change.files) == run.FILES_NAMED
    assert "\n301 files, +" in words.pull_body(state, "")
    found = review.by_rules(change.head_sha, change.paths, 0, 0, (), file_count=change.size)
    assert "rules read the names of 200 of 301 files" in found.summary
    assert found.notes == ("the first 200 files touch no test",)


def test_a_head_that_was_inspected_and_changes_nothing_has_no_file() -> None:
    state = changed("a.py")
    assert state.change is not None
    outcomes.after_inspection(state, tasks.Inspection(head_sha="a" * 40))
    change = state.change
    assert "\n0 files, +0" in words.pull_body(state, "")
    found = review.by_rules(change.head_sha, change.paths, 0, 0, (), file_count=change.size)
    assert (found.verdict, found.blocking) == (review.Verdict.REJECT, ("the head changes no file",))


def test_a_list_of_warnings_that_was_cut_says_so() -> None:
    state = changed("a.py")
    assert state.change is not None
    one = work.SafetyFinding(rule="eval", path="a.py", line=3, level=work.FindingLevel.WARNS)
    state.change.warnings = (one,) * 23
    assert words.pull_body(state, "").count("`a.py:3`") == 20
    assert "\n- and more than these 20" in words.pull_body(state, "")
    notes = review.by_rules("a" * 40, ("test_a.py",), 3, 1, state.change.warnings).notes
    assert (len(notes), notes[-1]) == (21, "more patterns than these 20 are worth a look")


def test_more_remarks_of_a_model_than_are_named_are_counted() -> None:
    advice = review.Advice(blocking=tuple(f"fault {n}" for n in range(23)), notes=("one",))
    found = review.from_advice("a" * 40, advice, by="claude")
    assert (len(found.blocking), found.blocking[-1], found.notes) == (21, "and 3 more", ("one",))

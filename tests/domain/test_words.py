"""What people read: the card is Markdown that a browser shows as a list, and one file is not "1 files"."""

import pytest

from domain import refs, review, run, words

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

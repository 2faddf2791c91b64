"""What the past says of two files beyond how often they changed together."""

import math
import pathlib

import pytest

from codegraph import graph, history, objects, past, relations, store, ties
from tests.codegraph import lab

CROWD = tuple(f"many/{number}.py" for number in range(past.CROWD))


def _past(*commits: tuple[str, tuple[str, ...]]) -> past.Past:
    """The newest first, each with its text and its files."""
    told = [
        history.Commit(f"{number:040}", 1_000 - number, text, paths, len(paths))
        for number, (text, paths) in enumerate(commits)
    ]
    return past.Past(history.History(tuple(told)), past.Messages())


def _row(known: past.Past, seed: str, path: str, *others: str) -> dict[str, float]:
    return dict(zip(ties.NAMES, ties.Ties(known, seed, [path, *others]).row(path), strict=True))


def test_a_pair_is_counted_from_both_sides_and_against_chance() -> None:
    known = _past(
        ("one", ("a", "b")),
        ("two", ("a",)),
        ("three", ("b", "c")),
        ("four", ("a", "b", "c")),
        ("five", ("c",)),
    )
    row = _row(known, "a", "b", "c")
    assert row["share_of_seed"] == pytest.approx(2 / 4)  # a was changed three times, twice with b
    assert row["share_of_path"] == pytest.approx(2 / 4)
    assert row["jaccard"] == pytest.approx(2 / 5)
    assert row["surprise"] == pytest.approx(math.log(2.3 * 5 / (4 * 4)))
    assert row["last_5"] == pytest.approx(2 / 3), "of the three changes of a"
    assert row["since_together"] == 1.0, "the newest of all changed both"
    assert row["closest"] == pytest.approx(1 / 2), "alone with a, just now"
    assert _row(known, "a", "c", "b")["surprise"] < row["surprise"]
    assert _row(known, "a", "c", "b")["closest"] == pytest.approx(known.age(3) / 3)


def test_the_newest_changes_count_for_themselves() -> None:
    known = _past(*[("new", ("a", "b"))] * 5, *[("old", ("a", "c"))] * 10, *[("elder", ("a", "d"))] * 10)
    rows = {path: _row(known, "a", path, "b", "c", "d") for path in "bcd"}
    assert [rows[path]["last_5"] for path in "bcd"] == [1.0, 0.0, 0.0]
    assert [rows[path]["last_15"] for path in "bcd"] == pytest.approx([1 / 3, 2 / 3, 0.0])
    assert [rows[path]["newest_5"] for path in "bcd"] == [1.0, 0.0, 0.0]
    assert [rows[path]["newest_20"] for path in "bcd"] == [1.0, 1.0, 1.0]
    assert rows["c"]["ages_apart"] == pytest.approx(math.log1p(5))
    assert rows["b"]["since_together"] > rows["c"]["since_together"] > rows["d"]["since_together"]
    assert rows["b"]["together_ever"] == pytest.approx(0.5)
    assert rows["c"]["together_ever"] == 1.0


def test_a_commit_of_a_crowd_ties_nothing() -> None:
    known = _past(("sweep", ("a", *CROWD)), ("fix", ("a", "b")))
    row = _row(known, "a", CROWD[0], "b")
    assert row["share_of_seed"] == row["closest"] == row["last_5"] == row["together_ever"] == row["topic"] == 0.0
    assert _row(known, "a", "b", CROWD[0])["share_of_seed"] == pytest.approx(1 / 3)


def test_files_that_never_changed_together_may_be_about_the_same_things() -> None:
    known = _past(
        ("Retry the upload of parts", ("a",)),
        ("Upload parts again\n\nThe schema of invoices is not concerned.", ("b",)),
        ("New schema of invoices", ("c",)),
        ("Parse dates", ("d",)),
    )
    rows = {path: _row(known, "a", path, "b", "c", "d") for path in "bcd"}
    assert rows["b"]["topic"] > 0.3, "both spoke of uploading parts"
    assert rows["b"]["topic_top"] == 1.0
    assert rows["c"]["topic"] == rows["d"]["topic"] == 0.0, "only the first lines count"
    assert math.hypot(*known.topic("a").values()) == pytest.approx(1.0)
    assert _row(known, "a", "a")["topic"] == pytest.approx(1.0)


def test_folders_that_change_with_a_file_are_known() -> None:
    known = _past(("one", ("a/x", "docs/y")), ("two", ("a/x", "docs/z")), ("three", ("a/x",)))
    assert _row(known, "a/x", "docs/never")["folder_share"] == pytest.approx(2 / 4)
    assert _row(known, "a/x", "a/never")["folder_share"] == 0.0, "the file itself is no company"


def test_without_a_past_nothing_is_said() -> None:
    assert ties.Ties(None, "a", ["b"]).row("b") == [0.0] * len(ties.NAMES)


def test_in_an_empty_past_nothing_is_said() -> None:
    assert ties.Ties(_past(), "a", ["b"]).row("b") == [0.0] * len(ties.NAMES)


def test_a_file_that_the_past_does_not_know_is_tied_to_nothing_and_not_new() -> None:
    known = _past(("one", ("b",)), ("two", ("b",)))
    fresh = _row(known, "new", "b", "c")
    assert fresh.pop("surprise") == pytest.approx(math.log(0.3 * 2 / 3))
    assert fresh.pop("ages_apart") == pytest.approx(math.log1p(2)), "as if it had been touched before all others"
    assert fresh.pop("since_together") < 0.2
    assert [fresh.pop(name) for name in ("newest_5", "newest_20", "newest_100")] == [1.0] * 3, "b was touched just now"
    assert set(fresh.values()) == {0.0}
    never = _row(known, "b", "never", "c")
    assert [never[name] for name in ("newest_5", "newest_20", "newest_100")] == [0.0] * 3, "it was never touched"


def test_likeness_of_files_asks_how_often_both_say_a_rare_word(tmp_path: pathlib.Path) -> None:
    files = {
        b"seed.py": b"def upload():\n    ledger(ledger, ledger, parcel)\n",
        b"alike.py": b"def other():\n    ledger(ledger, ledger, plain)\n",
        b"less.py": b"def third():\n    parcel(plain, plain, plain)\n",
        b"none.py": b"def fourth():\n    plain(plain, plain, plain)\n",
        **{b"more%d.py" % number: b"def fifth():\n    words(words)\n" for number in range(6)},
    }
    lab.make(tmp_path / "r.git", [lab.Commit(files)])
    held = graph.Graph(objects.Repository(tmp_path / "r.git"), store.Store(tmp_path / "store"), workers=0)
    revision = held.at("main")
    found = relations.Table(revision, "seed.py", revision.sources.facts["seed.py"])
    assert found.cosine["alike.py"] > found.cosine["less.py"] > 0.0
    assert "none.py" not in found.cosine
    assert "seed.py" not in found.cosine
    place = relations.NAMES.index("cosine_top")
    rows = dict(zip(found.paths, found.rows, strict=True))
    assert rows["alike.py"][place] == 1.0
    assert rows["none.py"][place] == 0.0

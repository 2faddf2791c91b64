"""Commits become questions: what is kept, what the texts lose, and how the cases are drawn."""

import pathlib

import pytest

from evals.codegraph import mine
from tests.codegraph import lab

WHY = "The pool kept one connection for every request that was cancelled while it waited, so it ran dry."


def _cases(tmp_path: pathlib.Path, *steps: tuple[str, tuple[str, ...]], most: int = 100) -> list[tuple[str, list[str]]]:
    """Titles and right files of what is mined from commits that each change some files by two lines."""
    names = sorted({path for _, paths in steps for path in paths})
    files = {path.encode(): b"a = 1\nb = 1\n" for path in names}
    commits = [lab.Commit(files, text=b"Begin")]
    for number, (text, paths) in enumerate(steps):
        changed = {path.encode(): b"a = 2%d\nb = 2%d\n" % (number, number) for path in paths}
        commits.append(lab.Commit(changed, text=text.encode(), time=1_700_000_000 + number))
    lab.make(tmp_path / "r.git", commits)
    return [(case["title"], case["gold"]) for case in mine.mine(tmp_path / "r.git", "o/r", most)]


def test_a_fix_is_a_question(tmp_path: pathlib.Path) -> None:
    subjects = ["Fix the leak of the pool", "fix: let go of connections", "Fixes a leak", "Closes idle ones sooner"]
    found = _cases(tmp_path, *((f"{subject}\n\n{WHY}\n", ("pool.py",)) for subject in subjects))
    assert sorted(title for title, _ in found) == sorted(subjects)


def test_what_says_too_little_or_is_no_work_on_code_is_left_out(tmp_path: pathlib.Path) -> None:
    found = _cases(
        tmp_path,
        ("Let go of connections", ("pool.py",)),
        (f"Leak\n\n{WHY}", ("pool.py",)),
        (f"Fix a typo of the pool\n\n{WHY}", ("pool.py",)),
        (f"Tell how it is used\n\n{WHY}", ("README.md",)),
        (f"Change seven at once\n\n{WHY}", tuple(f"{number}.py" for number in range(7))),
        (f"Let go of café connections\n\n{WHY}", ("café.py",)),
    )
    assert found == [("Let go of café connections", ["café.py"])]


def test_half_of_the_cases_change_several_files_where_there_are_as_many(tmp_path: pathlib.Path) -> None:
    several = [(f"Change both of step {number}\n\n{WHY}", ("a.py", "b.py")) for number in range(4)]
    single = [(f"Change one of step {number}\n\n{WHY}", ("c.py",)) for number in range(12)]
    found = [len(gold) for _, gold in _cases(tmp_path / "few", *several, *single, most=6)]
    assert sorted(found) == [1, 1, 1, 2, 2, 2]
    found = [len(gold) for _, gold in _cases(tmp_path / "all", *several, *single, most=12)]
    assert sorted(found) == [1] * 8 + [2] * 4


@pytest.mark.parametrize(
    "line",
    [
        "Signed-off-by: A <a@example.com>",
        "Co-authored-by: A <a@example.com>",
        "Fixes #12",
        "Closes: owner/name#12",
        "see https://example.com/1",
        "Change-Id: I0123",
        "-----",
    ],
)
def test_lines_that_only_refer_to_something_are_lost(line: str) -> None:
    assert mine.cleaned(f"Fix the pool\n\n{WHY}\n\n{line}\n", ["pool.py"]) == ("Fix the pool", f"Fix the pool\n{WHY}")


def test_what_gives_the_answer_away_is_lost() -> None:
    title, text = mine.cleaned(
        "pool: let go of src/net/pool.py (#12)\n\nSince 0a1b2c3d4e, pool.py keeps it.", ["net/pool.py"]
    )
    assert title == "let go of"
    assert text == "let go of\nSince , keeps it."

"""`fettle graph` on a real repository: every command answers people and programs, and says what it lacks."""

import dataclasses
import functools
import io
import json
import sys
from pathlib import Path

import pytest

from cli import catalog
from codegraph import graph, languages, manifest, store
from tests.cli.world import Said, say
from tests.codegraph import lab, shop

_TEXT = "Send the invoice by mail"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The shop."""
    folder = tmp_path_factory.mktemp("shop")
    shop.build(folder)
    return str(folder)


def _ask(repo: str, *words: str) -> Said:
    found = say("graph", *words, "--repo", repo)
    assert found.code == 0, found.err
    return found


def test_the_first_index_reads_and_the_second_has_nothing_to_read(tmp_path: Path) -> None:
    shop.build(tmp_path)
    first = _ask(str(tmp_path), "index", "--json").json
    assert (first["read"], first["kept"]) == (7, True)
    assert first["bytes"] == sum(path.stat().st_size for path in (tmp_path / "fettle").glob("codegraph.sqlite*"))
    assert first["store"] == str(tmp_path / "fettle")
    again = _ask(str(tmp_path), "index")
    assert again.out.startswith("read         0 files in ")
    assert "definitions  13 in " in again.out


def test_contents_that_the_clone_lacks_are_not_told_as_read(tmp_path: Path) -> None:
    shop.build(tmp_path / "whole.git")
    lab.git(tmp_path / "whole.git", "config", "uploadpack.allowFilter", "true")
    url = (tmp_path / "whole.git").as_uri()
    lab.git(tmp_path, "clone", "--quiet", "--bare", "--filter=blob:none", url, "part")
    found = _ask(str(tmp_path / "part"), "index", "--json").json
    assert (found["read"], found["absent"]) == (0, 7)


def test_the_store_may_be_kept_elsewhere(tmp_path: Path) -> None:
    shop.build(tmp_path / "repo")
    _ask(str(tmp_path / "repo"), "index", "--store", str(tmp_path / "kept"))
    assert (tmp_path / "kept" / "codegraph.sqlite").exists()
    assert not (tmp_path / "repo" / "fettle").exists()


def test_stats_count_languages_and_what_is_left_out(repo: str) -> None:
    found = _ask(repo, "stats", "--json").json
    assert found["languages"] == {"python": {"files": 7, "parsed": 7, "unparsed": 0}}
    assert found["skipped"] == {"generated": 1, "no language": 1}
    assert (found["sources"], found["tests"], found["commits"]) == (5, 2, 5)
    lines = [line.split() for line in _ask(repo, "stats").out.splitlines()]
    assert ["python", "7", "7"] in lines
    assert ["generated", "1"] in lines
    assert ["past", "5", "commits"] in lines


def test_locate_names_files_definitions_and_tests(repo: str) -> None:
    found = _ask(repo, "locate", _TEXT, "--json").json
    assert found["files"][0]["path"] == "src/shop/mail.py"
    assert found["symbols"][0]["path"] == "src/shop/mail.py"
    text = _ask(repo, "locate", _TEXT, "--most", "1").out
    assert "src/shop/mail.py" in text
    assert "Mailer.send_invoice" in text
    assert "tests: tests/test_mail.py" in text


def test_a_text_comes_from_a_file_or_from_stdin(repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "issue.md").write_text(_TEXT)
    direct = _ask(repo, "locate", _TEXT, "--json").json
    assert _ask(repo, "locate", f"@{tmp_path / 'issue.md'}", "--json").json == direct
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(_TEXT.encode())))
    assert _ask(repo, "locate", "-", "--json").json == direct


def test_a_text_of_which_nothing_is_known_is_told_so(repo: str) -> None:
    assert _ask(repo, "locate", "??").out.startswith("no file holds a word of the text")
    assert _ask(repo, "locate", "??", "--json").json["files"] == []


def test_a_map_keeps_its_budget_and_is_the_same_each_time(repo: str) -> None:
    drawn = _ask(repo, "map", _TEXT, "--budget", "150").out
    assert drawn.startswith("src/shop/mail.py")
    assert len(drawn.encode()) <= 450
    assert _ask(repo, "map", _TEXT, "--budget", "150").out == drawn
    assert _ask(repo, "map", _TEXT, "--budget", "1").out.startswith("nothing was found that fits 1 token:")


@pytest.mark.parametrize(
    "words",
    [("main~1..main",), ("--base", "main~1"), ("--base", "main~1", "--head", "main")],
)
def test_a_change_is_told_by_two_commits(repo: str, words: tuple[str, ...]) -> None:
    found = _ask(repo, "blast", *words, "--json").json
    assert found["rev"] == lab.git(Path(repo), "rev-parse", "main~1")
    assert found["changed"] == [{"path": "src/shop/views.py", "new": False, "whole": False, "symbols": ["login"]}]


def test_a_change_is_told_by_paths_and_by_a_diff(repo: str, tmp_path: Path) -> None:
    found = _ask(repo, "blast", "./src/shop/money.py", "src/shop/mail.py", "--json").json
    assert [each["path"] for each in found["changed"]] == ["src/shop/money.py", "src/shop/mail.py"]
    assert {"src/shop/totals.py", "tests/test_totals.py"} <= set(found["ranked"])
    (tmp_path / "work.diff").write_text(lab.git(Path(repo), "diff", "main~3", "main~2"))
    given = _ask(repo, "blast", "--diff", str(tmp_path / "work.diff"), "--rev", "main~3", "--json").json
    assert given == _ask(repo, "blast", "main~3..main~2", "--json").json
    text = _ask(repo, "blast", "src/shop/money.py").out
    assert text.startswith("changed src/shop/money.py: all of it\n")
    assert "tests to run" in text


def test_a_change_of_what_is_not_indexed_is_told_so(repo: str, tmp_path: Path) -> None:
    (tmp_path / "empty.diff").write_text("--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-a\n+b\n")
    assert _ask(repo, "blast", "--diff", str(tmp_path / "empty.diff")).out.startswith("the change touches no file")


def test_a_large_change_is_told_with_what_was_not_looked_at(tmp_path: Path) -> None:
    files: list[dict[bytes, lab.Contents | None]] = [
        {b"f%02d.py" % n: b"def f%d():\n    return %d\n" % (n, turn) for n in range(75)} for turn in range(2)
    ]
    lab.make(tmp_path, [lab.Commit(each) for each in files])
    lines = _ask(str(tmp_path), "blast", "main~1..main").out.splitlines()
    assert "and 65 more files" in lines
    assert lines[-1] == "55 changed files beyond the first ones were not looked at"
    found = _ask(str(tmp_path), "blast", "main~1..main", "--json").json
    assert (found["changed_files"], found["left_out"]) == (75, 55)


def test_frames_of_a_trace_are_placed(repo: str, tmp_path: Path) -> None:
    frames = [
        {"filename": "/app/src/shop/views.py", "function": "checkout", "lineno": 8},
        {"filename": "/usr/lib/python3.11/smtplib.py", "function": "sendmail", "lineno": 880},
    ]
    (tmp_path / "event.json").write_text(json.dumps({"exception": {"values": [{"stacktrace": {"frames": frames}}]}}))
    found = _ask(repo, "frames", str(tmp_path / "event.json"), "--json").json
    assert [each["path"] for each in found["frames"]] == ["src/shop/views.py", None]
    text = _ask(repo, "frames", str(tmp_path / "event.json")).out
    assert text.splitlines()[2].split()[:2] == ["src/shop/views.py", "checkout"]
    assert "not ours" in text


def test_an_installed_copy_is_known_by_the_name_of_the_repository(repo: str, tmp_path: Path) -> None:
    frame = {"filename": "/venv/lib/python3.11/site-packages/shop/mail.py", "function": "subject", "lineno": 16}
    (tmp_path / "frames.json").write_text(json.dumps([frame]))
    found = _ask(repo, "frames", str(tmp_path / "frames.json"), "--name", "acme/shop", "--json").json
    assert found["frames"][0]["path"] == "src/shop/mail.py"


def test_two_texts_of_one_file_collide_more_than_two_of_different_ones(repo: str, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("Round the total of a discount")
    near = _ask(repo, "conflict", "Round the total once", f"@{tmp_path / 'other.md'}", "--json").json
    far = _ask(repo, "conflict", "Round the total once", "Ask for a longer password at login", "--json").json
    assert near["probability"] > far["probability"]
    assert near["files"][0][0] in {"src/shop/totals.py", "src/shop/money.py"}
    assert "likely to change a file in common: " in _ask(repo, "conflict", _TEXT, "Another invoice").out


def test_a_place_in_the_ranking_is_explained(repo: str) -> None:
    found = _ask(repo, "explain", _TEXT, "src/shop/mail.py", "--json").json
    assert found["place"] == 1
    assert found["evidence"]
    text = _ask(repo, "explain", _TEXT, "src/shop/mail.py").out
    assert text.startswith("src/shop/mail.py is number 1 of ")
    assert "because: " in text
    words = _ask(repo, "explain", _TEXT, "README.md").out
    assert words.endswith("it is left out of the index: no language\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("locate", "x", "--rev", "nope"), "'nope' is no commit of "),
        (("locate", ""), "no text was given: give one, @FILE, or - for stdin"),
        (("locate", "@none.md"), "none.md cannot be read (No such file or directory)"),
        (("blast",), "a change is BASE..HEAD, --diff FILE or paths, nothing was given: give one"),
        (("blast", "main..main", "--diff", "x"), "more than one of them was given"),
        (("blast", "main...main"), "give $(git merge-base main main)..main"),
        (("blast", "main..main", "--base", "main"), "say the same thing twice"),
        (("blast", "--head", "main"), "give --base too"),
        (("blast", "main..nope"), "'nope' is no commit of "),
        (("blast", "src/none.py"), "src/none.py is no file of "),
        (("frames",), "no stack trace was given"),
        (("frames", "-"), "stdin is no JSON"),
        (("conflict", "-", "-"), "both texts would come from stdin"),
        (("conflict", "one"), "no text was given"),
        (("locate", "x", "--repo", "elsewhere"), "one question is asked of one repository, 2 were named"),
        (("locate", "x", "--batch", "a", "--out", "b"), "leave one of them out"),
        (("locate", "--batch", "a"), "name it with --out"),
        (("locate", "x", "--out", "b"), "belong to --batch"),
        (("locate", "--batch", "a", "--out", "b", "--mirror", "none"), "none is no folder"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error_with_a_next_step(
    repo: str, words: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no json")))
    found = say("graph", *words, "--repo", repo)
    assert found.code == 2, found.err
    assert found.out == ""
    assert sentence in found.err


@pytest.mark.parametrize("name", [e.name for e in catalog.COMMANDS if e.name.startswith("graph ")])
def test_no_repository_is_a_usage_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "frames.json").write_text("[]")
    words = {"blast": ("a.py",), "conflict": ("a", "b"), "explain": ("a", "b"), "frames": (f"{tmp_path}/frames.json",)}
    word = name.split()[1]
    found = say("graph", word, *words.get(word, () if word in {"index", "stats"} else ("a",)), "--repo", str(tmp_path))
    assert found.code == 2
    assert found.err == f"error: {tmp_path} holds no git repository: name one with --repo\n"


def test_a_repository_without_commits_is_told_so(tmp_path: Path) -> None:
    lab.git(tmp_path, "init", "--quiet", "--bare")
    found = say("graph", "stats", "--repo", str(tmp_path))
    assert found.code == 2
    assert "has no commit yet: make one first" in found.err


def test_a_shallow_clone_is_told_with_the_way_out(repo: str, tmp_path: Path) -> None:
    lab.git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{repo}", "shallow")
    found = _ask(str(tmp_path / "shallow"), "locate", _TEXT, "--json")
    assert found.json["shallow"] is True
    assert "the clone is shallow" in found.err
    assert "git fetch --unshallow brings the rest" in found.err


def test_a_missing_grammar_is_told_with_its_files_and_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.tree(tmp_path, {"a.go": b"package till\n", "b.go": b"package till\n", "c.py": b"c = 1\n"})
    monkeypatch.setitem(languages.LANGUAGES, "go", dataclasses.replace(languages.LANGUAGES["go"], module="absent_go"))
    for cached in (languages.grammar, manifest.installed, store._grammar):
        cached.cache_clear()
    here = functools.partial(graph.Graph, workers=0)  # other processes would find the grammar
    monkeypatch.setattr("cli.graphs.graph.Graph", here)
    try:
        found = _ask(str(tmp_path), "stats", "--json")
    finally:
        monkeypatch.undo()
        for cached in (languages.grammar, manifest.installed, store._grammar):
            cached.cache_clear()
    assert found.json["missing_grammars"] == {"go": 2}
    assert found.err == "note: no grammar for go, so of 2 files only words are known: install absent-go\n"


def test_a_file_whose_contents_are_gone_is_told(tmp_path: Path) -> None:
    lab.tree(tmp_path, {"a.py": b"def till(): pass\n", "b.py": b"b = 1\n"})
    blob = lab.git(tmp_path, "rev-parse", "main:a.py")
    (tmp_path / "objects" / blob[:2] / blob[2:]).unlink()
    found = _ask(str(tmp_path), "locate", "till")
    assert found.err.startswith("note: the contents of 1 file are not in this clone, so they are left out: git fetch")


def test_texts_that_lead_nowhere_get_no_advice_to_wait(repo: str) -> None:
    assert _ask(repo, "locate", "zzzz qqqq").out.startswith("no file holds a word of the text")
    assert _ask(repo, "conflict", "zzzz qqqq", "xxyy").out.startswith("no file is known that both would change")


def test_names_out_of_a_repository_do_not_steer_the_terminal(tmp_path: Path) -> None:
    lab.tree(tmp_path, {"till\x1b[31m.py": b"def till():\n    pass\n"})
    found = _ask(str(tmp_path), "locate", "till")
    assert "till" in found.out
    assert "\x1b" not in found.out


def test_a_text_is_compared_with_running_branches(tmp_path: Path) -> None:
    steps = shop.past()
    totals = shop.TOTALS.replace(b"percent / 100", b"percent / 100.0")
    work = lab.Commit(
        {b"src/shop/totals.py": totals}, b"work", 1_800_000_000, parents=[len(steps) - 1], branch="totals"
    )
    lab.make(tmp_path, [*steps, work])
    found = _ask(str(tmp_path), "conflict", "Round the discount", "--branch", "totals", "--json").json["branches"]
    assert [each["branch"] for each in found] == ["totals"]
    assert found[0]["files"][0][0] == "src/shop/totals.py"
    assert "totals" in _ask(str(tmp_path), "conflict", "Round the discount", "--branch", "totals").out
    assert say("graph", "conflict", "a text", "another", "--branch", "totals", "--repo", str(tmp_path)).code == 2
    assert say("graph", "conflict", "a text", "--branch", "nowhere", "--repo", str(tmp_path)).code == 2

"""Many questions at once give what each gives alone, in the form that the benchmark's grader reads."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import pytest

from codegraph import batch, graph, navigate, objects
from tests.codegraph import lab, shop

_TEXTS = (
    "Round the total once, at the end",
    "The invoice is sent by mail through another server",
    "Round the discount like the total",
    "Ask for the password at login",
)
_GOLD = (
    ["src/shop/money.py", "src/shop/totals.py"],
    ["src/shop/mail.py"],
    ["src/shop/money.py", "src/shop/totals.py"],
    ["src/shop/views.py"],
)


@pytest.fixture
def at(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where the shop is."""
    return tmp_path / "shop.git"


@pytest.fixture
def cases(at: pathlib.Path) -> list[dict[str, Any]]:
    """One for each change of the shop, asked at the commit before it."""
    shas = shop.build(at)
    return [
        {"id": f"shop-{n}", "repo": "acme/shop", "parent": shas[n], "commit": shas[n + 1], "text": text,
         "title": text, "gold": _GOLD[n], "gold_tests": [["tests/test_mail.py"], []][n != 1]}
        for n, text in enumerate(_TEXTS)
    ]  # fmt: skip


def _run(
    kind: str, questions: Sequence[batch.Case], at: pathlib.Path, cases: Sequence[batch.Case] = ()
) -> tuple[batch.Report, list[dict[str, Any]]]:
    out = at.parent / "out.jsonl"
    report = batch.run(kind, questions, batch.Places([at]), out, cases)
    return report, [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def test_answers_have_the_form_of_the_grader(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    report, found = _run("locate", cases, at)
    assert (report.written, report.elsewhere, report.failed) == (4, 0, {})
    for case, answer in zip(cases, found, strict=True):
        assert answer.keys() == {"id", "ranked", "symbols", "query_ms"}
        assert answer["id"] == case["id"]
        assert set(case["gold"]) <= set(answer["ranked"][:3])
        assert answer["query_ms"] > 0
    assert "src/shop/totals.py::Total.rounded" in found[0]["symbols"]
    assert not any(path.startswith("tests/") for answer in found for path in answer["ranked"])


def test_commits_are_visited_from_the_oldest_whatever_the_order_of_the_cases(
    at: pathlib.Path, cases: list[dict[str, Any]]
) -> None:
    _, found = _run("locate", list(reversed(cases)), at)
    assert [answer["id"] for answer in found] == [case["id"] for case in cases]


def test_each_answer_is_the_one_that_the_question_gets_alone(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    _, together = _run("locate", cases, at)
    for case, answer in zip(cases, together, strict=True):
        held = graph.Graph.open(at, folder=at.parent / f"kept-{case['id']}")
        alone = navigate.locate(held.at(case["parent"]), case["text"])
        assert answer["ranked"] == [hit.path for hit in alone.files]
        assert answer["symbols"] == [f"{hit.path}::{hit.name}" for hit in alone.symbols]


def test_a_checkout_answers_as_the_bare_repository_does(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    _, bare = _run("locate", cases, at)
    lab.git(at.parent, "clone", "--quiet", str(at), "checkout")
    _, normal = _run("locate", cases, at.parent / "checkout" / "src")
    assert [answer["ranked"] for answer in normal] == [answer["ranked"] for answer in bare]


def test_cases_of_other_repositories_are_left_out_and_counted(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    other = {**cases[0], "id": "other-1", "repo": "acme/other", "parent": "1" * 40}
    report, found = _run("locate", [other, *cases, {"id": "no parent"}], at)
    assert (report.written, report.elsewhere) == (4, 2)
    assert "other-1" not in {answer["id"] for answer in found}


def test_repositories_are_found_in_a_mirror_by_their_names(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    mirror, out = at.parent / "mirror", at.parent / "out.jsonl"
    (mirror / "acme+shop").mkdir(parents=True)
    at.rename(mirror / "acme+shop" / "repo")
    (other,) = lab.make(mirror / "acme+other", [lab.Commit({b"till.py": b"def till():\n    pass\n"})])
    questions = [*cases, {"id": "other-1", "repo": "acme/other", "parent": other, "text": "the till"}]
    questions.append({**cases[0], "id": "up", "repo": "../shop"})
    report = batch.run("locate", questions, batch.Places([], mirror, at.parent / "kept"), out)
    assert (report.written, report.elsewhere) == (5, 1)
    assert {path.name for path in (at.parent / "kept").iterdir()} == {"acme+shop", "acme+other"}


def test_seeds_are_ranked_without_themselves(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    seeds = [{"id": "shop-2", "seed": "src/shop/totals.py"}, {"id": "shop-2", "seed": "src/shop/money.py"}]
    report, found = _run("blast", seeds, at, cases)
    assert report.written == 2
    for seed, answer in zip(seeds, found, strict=True):
        assert (answer["id"], answer["seed"]) == (seed["id"], seed["seed"])
        assert seed["seed"] not in answer["ranked"]
    assert found[0]["ranked"][0] in {"src/shop/money.py", "tests/test_totals.py"}
    assert "tests/test_totals.py" in found[0]["ranked"]


def test_cases_stand_for_all_their_seeds_and_pairs(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    _, found = _run("blast", cases, at)
    assert [(answer["id"], answer["seed"]) for answer in found] == [
        ("shop-0", "src/shop/money.py"),
        ("shop-0", "src/shop/totals.py"),
        ("shop-1", "src/shop/mail.py"),
        ("shop-2", "src/shop/money.py"),
        ("shop-2", "src/shop/totals.py"),
    ]
    _, found = _run("conflict", cases, at)
    assert [(answer["a"], answer["b"]) for answer in found] == [
        (f"shop-{one}", f"shop-{other}") for one in range(4) for other in range(one + 1, 4)
    ]


def test_a_file_that_nobody_indexes_is_a_seed_of_its_past_alone(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    _, found = _run("blast", [{"id": "shop-0", "seed": "README.md"}, {"id": "shop-0", "seed": "none.py"}], at, cases)
    assert [answer["seed"] for answer in found] == ["README.md", "none.py"]


def test_pairs_that_share_files_score_higher_than_others(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    pairs = [{"a": "shop-0", "b": "shop-2"}, {"a": "shop-1", "b": "shop-3"}]
    report, (same, apart) = _run("conflict", pairs, at, cases)
    assert report.written == 2
    assert same.keys() == {"a", "b", "score", "serialize"}
    assert 0 <= apart["score"] < same["score"] <= 1


def test_frames_are_placed_at_their_commit(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    ours = {"filename": "/app/src/shop/mail.py", "function": "Mailer.send_invoice", "lineno": 11}
    theirs = {"filename": "/usr/lib/python3.11/smtplib.py", "function": "sendmail", "lineno": 9}
    questions = [
        {"id": f"shop-f{n}", "repo": "acme/shop", "commit": cases[n]["commit"], "frame": frame}
        for n, frame in enumerate((ours, theirs, ours))
    ]
    _, found = _run("frames", questions, at)
    assert found == [
        {"id": "shop-f0", "path": "src/shop/mail.py", "symbol": "Mailer.send_invoice"},
        {"id": "shop-f1", "path": None, "symbol": None},
        {"id": "shop-f2", "path": "src/shop/mail.py", "symbol": "Mailer.send_invoice"},
    ]


def test_a_commit_that_cannot_be_read_fails_alone(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    tree = lab.git(at, "rev-parse", f"{cases[1]['parent']}:src/shop")
    (at / "objects" / tree[:2] / tree[2:]).unlink()
    report, found = _run("locate", [cases[1], cases[3]], at)
    assert list(report.failed) == ["shop-1"]
    assert report.failed["shop-1"].startswith("git ")
    assert [answer["id"] for answer in found] == ["shop-3"]


def test_what_was_there_stays_until_all_answers_are_written(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    _, before = _run("locate", cases, at)
    with pytest.raises(batch.Error, match="'nobody' and no case has that id: name the file of the cases with --cases"):
        _run("conflict", [{"a": "shop-0", "b": "nobody"}], at, cases)
    out = at.parent / "out.jsonl"
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == before
    _run("locate", cases[:1], at)
    assert not out.with_name("out.jsonl.part").exists()


def test_a_seed_without_its_case_is_refused(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    with pytest.raises(batch.Error, match="the seed of 'shop-0' has no parent"):
        _run("blast", [{"id": "shop-0", "seed": "src/shop/mail.py"}], at)


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("blast", {"gold": "src/a.py"}, "'gold' of 'shop-0' names no paths but src/a.py"),
        ("blast", {"gold": ["src/a.py"], "gold_tests": [1]}, r"'gold_tests' of 'shop-0' names no paths but \[1\]"),
        ("blast", {"seed": 5}, r"'seed' of 'shop-0' names no paths but \[5\]"),
        ("conflict", {"a": "shop-0"}, "a pair names '' and no case has that id"),
    ],
)
def test_a_question_of_another_form_is_named(
    at: pathlib.Path, cases: list[dict[str, Any]], kind: str, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(batch.Error, match=words):
        _run(kind, [{**cases[0], **more}], at)


def test_a_case_without_an_answer_has_no_seeds(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    assert _run("blast", [{**cases[0], "gold": None}], at)[1] == []


def test_a_commit_that_ends_git_is_left_out_alone(at: pathlib.Path, cases: list[dict[str, Any]]) -> None:
    (at / "logs").mkdir(exist_ok=True)
    (at / "logs" / "HEAD").write_text(f"{'0' * 40} {cases[0]['parent']} A <a@example.com> 1 +0000\tmade\n")
    report, _ = _run("locate", [{**cases[0], "parent": "HEAD@{77}"}, cases[1]], at)
    assert (report.written, report.elsewhere) == (1, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"id": 1}\n\n{"id":', r"cases\.jsonl:3 is no case"),
        (b"[]\n", r"cases\.jsonl:1 is no case \(it is a JSON list\)"),
        (b"\xff\n", r"in UTF-8"),
    ],
)
def test_a_line_that_is_no_case_is_named(tmp_path: pathlib.Path, content: bytes, words: str) -> None:
    (tmp_path / "cases.jsonl").write_bytes(content)
    with pytest.raises(batch.Error, match=words):
        batch.read(tmp_path / "cases.jsonl")


def test_a_file_that_is_not_there_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(batch.Error, match=r"none\.jsonl cannot be read"):
        batch.read(tmp_path / "none.jsonl")


def test_a_place_without_a_repository_is_an_error_at_once(tmp_path: pathlib.Path) -> None:
    with pytest.raises(objects.NotARepository):
        batch.Places([tmp_path / "nothing"])

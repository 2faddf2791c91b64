"""`fettle graph … --batch`: a file of questions becomes a file of answers, and what is left out is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.world import say
from tests.codegraph import lab, shop


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shop, two cases of it, and a case of another repository."""
    folder = tmp_path_factory.mktemp("batch")
    shas = shop.build(folder / "shop.git")
    cases = [
        {"id": "shop-0", "repo": "acme/shop", "parent": shas[0], "text": "Round the total once"},
        {"id": "shop-3", "repo": "acme/shop", "parent": shas[3], "text": "Ask for the password at login"},
        {"id": "other-0", "repo": "acme/other", "parent": "1" * 40, "text": "Open the till"},
    ]
    frame = {"filename": "/app/src/shop/mail.py", "function": "subject", "lineno": 3}
    _write(folder / "cases.jsonl", cases)
    _write(folder / "seeds.jsonl", [{"id": "shop-0", "seed": "src/shop/totals.py"}])
    _write(folder / "pairs.jsonl", [{"a": "shop-0", "b": "shop-3"}])
    _write(folder / "frames.jsonl", [{"id": "f0", "repo": "acme/shop", "commit": shas[1], "frame": frame}])
    return folder


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.mark.parametrize(
    ("kind", "questions", "keys"),
    [
        ("locate", "cases", {"id", "ranked", "symbols", "query_ms"}),
        ("blast", "seeds", {"id", "seed", "ranked", "query_ms"}),
        ("conflict", "pairs", {"a", "b", "score", "serialize"}),
        ("frames", "frames", {"id", "path", "symbol"}),
    ],
)
def test_each_kind_writes_what_its_grader_reads(world: Path, kind: str, questions: str, keys: set[str]) -> None:
    out = world / f"{kind}.out.jsonl"
    more = ["--cases", str(world / "cases.jsonl")] if kind in {"blast", "conflict"} else []
    words = ["--repo", str(world / "shop.git"), "--batch", str(world / f"{questions}.jsonl"), "--out", str(out), *more]
    found = say("graph", kind, *words, "--json")
    assert found.code == 0, found.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(row.keys() == keys for row in rows)
    assert found.json["written"] == len(rows) == (2 if kind == "locate" else 1)
    assert found.json["elsewhere"] == (1 if kind == "locate" else 0)


def test_questions_of_other_repositories_are_counted_for_people(world: Path) -> None:
    out = world / "pred.jsonl"
    words = ("--repo", str(world / "shop.git"), "--batch", str(world / "cases.jsonl"), "--out", str(out))
    found = say("graph", "locate", *words)
    assert found.code == 0, found.err
    assert found.out.startswith(f"2 answers in {out}, after ")
    assert found.out.endswith("; 1 question left out, no repository given holds their commits\n")


def test_questions_that_fail_are_told_after_the_others_are_answered(world: Path, tmp_path: Path) -> None:
    shas = shop.build(tmp_path / "shop.git")
    tree = lab.git(tmp_path / "shop.git", "rev-parse", f"{shas[0]}:src/shop")
    (tmp_path / "shop.git" / "objects" / tree[:2] / tree[2:]).unlink()
    words = ("--repo", str(tmp_path / "shop.git"), "--batch", str(world / "cases.jsonl"), "--out", f"{tmp_path}/out")
    found = say("graph", "locate", *words)
    assert found.code == 1
    assert "1 question could not be answered, first shop-0: git " in found.err
    assert [json.loads(line)["id"] for line in (tmp_path / "out").read_text().splitlines()] == ["shop-3"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--batch", "none.jsonl", "--out", "out.jsonl"), "none.jsonl cannot be read"),
        (("--batch", "cases.jsonl", "--out", "."), "name one that can be replaced"),
        (("--batch", "cases.jsonl", "--out", "none/out.jsonl"), "cannot be written (No such file or directory)"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    world: Path, words: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    found = say("graph", "locate", *words, "--repo", "shop.git")
    assert found.code == 1
    assert sentence in found.err


@pytest.mark.parametrize("name", ["cases.jsonl", "./cases.jsonl"])
def test_the_questions_are_never_written_over(world: Path, name: str) -> None:
    before = (world / "cases.jsonl").read_bytes()
    words = ("--repo", str(world / "shop.git"), "--batch", str(world / "cases.jsonl"), "--out", f"{world}/{name}")
    found = say("graph", "locate", *words)
    assert found.code == 2
    assert "which holds the questions" in found.err
    assert (world / "cases.jsonl").read_bytes() == before

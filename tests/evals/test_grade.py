"""The benchmark's own commands, from the questions to the table, with a grader of the benchmark's form."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evals.codegraph import grade
from tests.codegraph import shop

ROOT = Path(__file__).parents[2]
GRADER = """
import json, sys

def rows(name):
    return [json.loads(line) for line in open(name)]

kind, cases, more = sys.argv[1], rows(sys.argv[2]), sys.argv[3:]
if kind == "seeds":
    seeds = [{"id": c["id"], "seed": s} for c in cases for s in c["gold"] if len(c["gold"]) > 1]
    print("".join(json.dumps(each) + "\\n" for each in seeds))
elif kind == "pairs":
    print(json.dumps({"a": cases[0]["id"], "b": cases[1]["id"]}))
elif kind in ("locate", "blast"):
    given, gold = rows(more[0]), {c["id"]: set(c["gold"]) for c in cases}
    hits = sum(bool(gold[row["id"]] & set(row["ranked"][:10])) for row in given)
    name = {"multi": "multi-file", "size": "3: >200 files"}.get(more[2], "ALL") if "--by" in more else "ALL"
    print(json.dumps({"table": {name: {"rec@10": hits / len(given), "all@10": 0.1}}, "vs": None}))
    print("query_ms p50 1")
else:
    print(json.dumps({"ALL": {"ap": len(rows(more[0])), "flagged_at_recall_90": 0.2}}))
"""


@pytest.fixture
def questions(tmp_path: Path) -> dict[str, Path]:
    git_dir = tmp_path / "mirror" / "acme+shop" / "repo"
    git_dir.parent.mkdir(parents=True)
    shas = shop.build(git_dir)
    texts = ["Round the total once, at the end", "The invoice is sent by mail through another server"]
    gold = [["src/shop/money.py", "src/shop/totals.py"], ["src/shop/mail.py"]]
    cases = [
        {"id": f"shop-{n}", "repo": "acme/shop", "parent": shas[n], "commit": shas[n + 1], "date": f"2026-01-0{n + 1}",
         "title": texts[n], "text": texts[n], "gold": gold[n], "gold_tests": []}
        for n in range(2)
    ]  # fmt: skip
    frame = {"id": "f", "repo": "acme/shop", "commit": shas[0], "frame": {"filename": "src/shop/mail.py"}}
    return {
        "grader": _write(tmp_path / "grader.py", GRADER),
        "cases": _write(tmp_path / "cases.jsonl", "".join(json.dumps(case) + "\n" for case in cases)),
        "frames": _write(tmp_path / "frames.jsonl", json.dumps(frame) + "\n"),
    }


def _write(place: Path, text: str) -> Path:
    place.write_text(text)
    return place


def _run(questions: dict[str, Path], *more: str) -> subprocess.CompletedProcess[str]:
    folder = questions["cases"].parent
    where = {**questions, "mirror": folder / "mirror", "store": folder / "store", "out": folder / "out"}
    options = [part for name, path in where.items() for part in (f"--{name}", str(path))]
    command = [sys.executable, "-m", "evals.codegraph.grade", *options, *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_kind_is_asked_and_graded_and_what_misses_its_bar_is_in_bold(questions: dict[str, Path]) -> None:
    done = _run(questions)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0]) == (1, "| measure | BM25 | code graph | bar |"), done.stderr
    assert "| locate: recall in the first 10 | 1.000 | 1.000 | .910 |" in lines
    assert "| locate, several files: every one in the first 10 | .100 | **.100** | .750 |" in lines
    assert "| conflict: share serialized to catch nine of ten | .200 | .200 | .300 |" in lines
    assert "| locate: recall in the first 5 | - | - | .830 |" in lines
    assert {place.name for place in (questions["cases"].parent / "out").iterdir()} >= {
        "locate.jsonl", "title.jsonl", "blast.jsonl", "conflict.jsonl", "frames.jsonl", "bm25.locate.jsonl"
    }  # fmt: skip


def _found(values: dict[str, Any]) -> dict[str, Any]:
    return {"code graph": values}


def test_a_measure_that_was_not_graded_counts_as_missed() -> None:
    every = {each.kind: {} for each in grade.MEASURES}
    for each in grade.MEASURES:
        part = every[each.kind]
        for name in each.at[:-1]:
            part = part.setdefault(name, {})
        part[each.at[-1]] = each.bar
    assert grade.missed(_found(every)) == []
    del every["frames"]
    assert grade.missed(_found(every)) == [each.name for each in grade.MEASURES if each.kind == "frames"]


@pytest.mark.parametrize(("most", "value", "reached"), [(False, 0.5, True), (False, 0.49, False), (True, 0.51, False)])
def test_a_bar_is_passed_from_its_own_side(most: bool, value: float, reached: bool) -> None:
    assert grade.Measure("m", "k", (), 0.5, most).reached(value) is reached

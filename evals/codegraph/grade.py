"""Answer a benchmark with the code graph's commands, have its grader grade the answers, and print the table.

    python -m evals.codegraph.grade --grader score.py --cases dev.jsonl --frames frames_dev.jsonl \
        --mirror FOLDER --store FOLDER --out FOLDER [--aider PYTHON] [--json]

`FOLDER/owner+name/repo` in the mirror holds each repository's git directory. Answers stay in `--out`. BM25 answers
beside it from the same words and files (`evals.codegraph.baseline`), and so does aider's map with `--aider`, an
interpreter that has aider-chat (`evals.codegraph.aider_map`). Exit code 1 when a bar is missed, which is in bold.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_LARGE = "3: >200 files"
"""The grader's name for the slice of repositories with more than 200 source files."""
_MANY = "multi-file"
_MEAN = "(mean of rows)"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One line of the table: where in the grader's answer a figure stands, and what it has to reach.

    Attributes:
        name: What is measured.
        kind: The grade that holds it, a name of `Grades.kinds`.
        at: The path to it in the grader's JSON.
        bar: What passes.
        most: The bar is a ceiling.
    """

    name: str
    kind: str
    at: tuple[str, ...]
    bar: float
    most: bool = False

    def reached(self, value: float) -> bool:
        """Whether a value passes."""
        return value <= self.bar if self.most else value >= self.bar


_ALL = ("table", "ALL")
MEASURES = (
    Measure("locate: recall in the first 5", "locate", (*_ALL, "rec@5"), 0.83),
    Measure("locate: recall in the first 10", "locate", (*_ALL, "rec@10"), 0.91),
    Measure("locate: every file in the first 10", "locate", (*_ALL, "all@10"), 0.85),
    Measure("locate: the first one is right", "locate", (*_ALL, "any@1"), 0.70),
    Measure("locate: mean reciprocal rank", "locate", (*_ALL, "mrr"), 0.80),
    Measure("locate by the first line alone: recall in the first 10", "title", (*_ALL, "rec@10"), 0.83),
    Measure("locate, several files: every one in the first 10", "multi", ("table", _MANY, "all@10"), 0.75),
    Measure("locate, over 200 files: recall in the first 10", "size", ("table", _LARGE, "rec@10"), 0.83),
    Measure("definitions: recall in the first 10", "locate", (*_ALL, "sym_rec@10"), 0.50),
    Measure("definitions: recall in the first 20", "locate", (*_ALL, "sym_rec@20"), 0.60),
    Measure("blast: recall in the first 10", "blast", (*_ALL, "rec@10"), 0.70),
    Measure("blast: recall in the first 20", "blast", (*_ALL, "rec@20"), 0.82),
    Measure("blast: tests in the first 10", "blast", (*_ALL, "tests@10"), 0.66),
    Measure("conflict: area under the curve, mean of repositories", "conflict", (_MEAN, "auc"), 0.90),
    Measure("conflict: average precision, pooled", "conflict", ("ALL", "ap"), 0.50),
    Measure("conflict: share serialized to catch nine of ten", "conflict", ("ALL", "flagged_at_recall_90"), 0.30, True),
    Measure("frames: file", "frames", ("ALL", "file"), 0.98),
    Measure("frames: drifted definition", "frames", ("ALL", "symbol_drifted"), 0.90),
    Measure("frames: foreign refused", "frames", ("ALL", "foreign_refused"), 0.95),
)


def figure(grade: Any, at: Sequence[str]) -> float | None:
    """The figure at a path of a grade; None where the grader gave none."""
    for name in at:
        grade = grade.get(name) if isinstance(grade, dict) else None
    return float(grade) if isinstance(grade, int | float) else None


class Benchmark:
    """The files of one run: questions, answers and grades."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._out: Path = given.out
        self._out.mkdir(parents=True, exist_ok=True)

    def graded(self) -> dict[str, dict[str, Any]]:
        """Every grade, by who answered and by kind."""
        cases, frames = self._given.cases, self._given.frames
        titles = self._written("title.cases.jsonl", self._titles())
        seeds = self._written("seeds.jsonl", self._grader("seeds", cases))
        pairs = self._written("pairs.jsonl", self._grader("pairs", cases))
        found = {"code graph": self._navigation("", self._ours, titles)}
        own = found["code graph"]
        own["blast"] = self._grade("blast", cases, self._graph("blast", seeds, "--cases", str(cases)))
        own["conflict"] = self._grade("conflict", cases, self._graph("conflict", pairs, "--cases", str(cases)))
        own["frames"] = self._grade("frames", frames, self._graph("frames", frames))
        found["BM25"] = self._navigation("bm25.", self._bm25, titles)
        if self._given.aider:
            found["aider"] = self._navigation("aider.", self._aider, titles)
        return found

    def _navigation(self, prefix: str, answer: Callable[[Path, Path], None], titles: Path) -> dict[str, Any]:
        """What one ranking is worth: on the whole, by slices, by first lines, and for telling collisions."""
        cases = self._given.cases
        whole, short = self._out / f"{prefix}locate.jsonl", self._out / f"{prefix}title.jsonl"
        answer(cases, whole)
        answer(titles, short)
        return {
            "locate": self._grade("locate", cases, whole),
            "multi": self._grade("locate", cases, whole, "--by", "multi"),
            "size": self._grade("locate", cases, whole, "--by", "size"),
            "title": self._grade("locate", cases, short),
            "conflict": self._grade("conflict", cases, whole, "--from-ranked"),
        }

    def _titles(self) -> str:
        cases = [json.loads(line) for line in self._given.cases.open(encoding="utf-8")]
        return "".join(json.dumps({**case, "text": case["title"]}) + "\n" for case in cases)

    def _written(self, name: str, text: str) -> Path:
        place = self._out / name
        place.write_text(text, "utf-8")
        return place

    def _grader(self, *arguments: object) -> str:
        command = [sys.executable, str(self._given.grader), *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def _grade(self, kind: str, cases: Path, answers: Path, *more: str) -> Any:
        return json.JSONDecoder().raw_decode(self._grader(kind, cases, answers, *more, "--json").lstrip())[0]

    def _ours(self, cases: Path, out: Path) -> None:
        self._run(sys.executable, "-m", "cli.main", *self._batch("locate", cases, out))

    def _graph(self, kind: str, questions: Path, *more: str) -> Path:
        out = self._out / f"{kind}.jsonl"
        self._run(sys.executable, "-m", "cli.main", *self._batch(kind, questions, out), *more)
        return out

    def _batch(self, kind: str, questions: Path, out: Path) -> list[str]:
        where = ["--mirror", str(self._given.mirror), "--store", str(self._given.store)]
        return ["graph", kind, *where, "--batch", str(questions), "--out", str(out)]

    def _bm25(self, cases: Path, out: Path) -> None:
        where = ["--mirror", str(self._given.mirror), "--store", str(self._given.store / "bm25")]
        self._run(sys.executable, "-m", "evals.codegraph.baseline", *where, "--out", str(out), str(cases))

    def _aider(self, cases: Path, out: Path) -> None:
        where = ["--mirror", str(self._given.mirror), "--out", str(out)]
        self._run(str(self._given.aider), "-m", "evals.codegraph.aider_map", *where, str(cases))

    def _run(self, *command: str) -> None:
        """A program that tells its progress on its way."""
        print("+", " ".join(command[1:]), file=sys.stderr, flush=True)
        subprocess.run(command, check=True, stdout=sys.stderr)


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """The Markdown table, with the code graph's misses in bold."""
    others = [name for name in found if name != "code graph"]
    lines = [f"| measure | {' | '.join(others)} | code graph | bar |", "|---" * (len(others) + 3) + "|"]
    for each in MEASURES:
        cells = [_cell(figure(found[name].get(each.kind), each.at)) for name in others]
        own = figure(found["code graph"].get(each.kind), each.at)
        said = _cell(own) if own is None or each.reached(own) else f"**{_cell(own)}**"
        lines.append(f"| {each.name} | {' | '.join(cells)} | {said} | {_cell(each.bar)} |")
    return lines


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".removeprefix("0")


def missed(found: dict[str, dict[str, Any]]) -> list[str]:
    """The measures whose bar the code graph misses, or that were not graded."""
    own = {each: figure(found["code graph"].get(each.kind), each.at) for each in MEASURES}
    return [each.name for each, value in own.items() if value is None or not each.reached(value)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grader", type=Path, required=True, help="the benchmark's score.py")
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--aider", type=Path, help="an interpreter with aider-chat")
    parser.add_argument("--json", action="store_true", help="print every grade as JSON")
    given = parser.parse_args()
    found = Benchmark(given).graded()
    print(json.dumps(found, indent=1) if given.json else "\n".join(table(found)))
    sys.exit(1 if missed(found) else 0)


if __name__ == "__main__":
    main()

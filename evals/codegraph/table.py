"""Compute the tables of evidence for mined cases: what the trainer learns from.

    python -m evals.codegraph.table {locate,symbols,blast} --mirror FOLDER --store FOLDER --out TABLE CASES

`FOLDER/owner+name/repo` holds each repository's git directory. Cases of one repository are visited in the order of
their dates, so that each revision costs only what differs from the one before. `locate` asks each case twice: by its
whole text, and (`ID#title`) by its first line alone. `symbols` needs the weights of `locate`. `blast` asks once for
every changed file of a case that changed at least two.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from codegraph import columns, features, graph, navigate, objects, question, relations, store, symbols
from codegraph.revision import Revision

Case = Mapping[str, Any]
Row = tuple[str, list[str], list[list[float]], list[str]]
"""Id, names of the candidates, their rows, and the right ones among the names."""


def locate(revision: Revision, case: Case) -> Iterator[Row]:
    """Files for the text, and for its first line."""
    for kind in ("", "#title"):
        found = features.Table(revision, question.read(case["title"] if kind else case["text"]))
        yield case["id"] + kind, found.paths, found.rows, case["gold"]


def symbol(revision: Revision, case: Case) -> Iterator[Row]:
    """Definitions for the text; the right ones are those whose own lines the commit changed."""
    found = features.Table(revision, question.read(case["text"]))
    listed = symbols.table(found, navigate.ranking(found))
    gold = [f"{path}::{name}" for path, names in case["gold_symbols"].items() for name in names]
    yield (
        case["id"],
        [f"{each.path}::{each.definition.name}" for each in listed],
        [list(each.row) for each in listed],
        gold,
    )


def blast(revision: Revision, case: Case) -> Iterator[Row]:
    """The other changed files for each changed one."""
    changed = [*case["gold"], *case["gold_tests"]]
    for seed in case["gold"] if len(changed) > 1 else ():
        known = revision.sources.facts.get(seed)
        if known is not None:
            found = relations.Table(revision, seed, known)
            yield f"{case['id']}#{seed}", found.paths, found.rows, [path for path in changed if path != seed]


def gold_symbols(git_dir: Path, revision: Revision, case: Case) -> dict[str, list[str]]:
    """The innermost definitions around the lines that a commit changed, as its parent names them."""
    command = [
        "git",
        f"--git-dir={git_dir}",
        "diff",
        "-U0",
        "--no-color",
        "--no-ext-diff",
        case["parent"],
        case["commit"],
        "--",
    ]
    text = subprocess.run([*command, *case["gold"]], capture_output=True, check=True).stdout.decode("utf-8", "replace")
    found: dict[str, set[str]] = {}
    path = ""
    for line in text.splitlines():
        if line.startswith("--- a/"):
            path = line[6:]
        elif line.startswith("@@") and path in revision.sources.facts:
            start, _, count = line.split()[1][1:].partition(",")
            lines = range(int(start), int(start) + max(1, int(count or 1)))
            definitions = revision.sources.facts[path].definitions
            for number in lines:
                around = [each for each in definitions if each.start <= number <= each.end]
                if around:
                    found.setdefault(path, set()).add(max(around, key=lambda each: (each.start, -each.end)).name)
    return {path: sorted(names) for path, names in sorted(found.items())}


KINDS = {
    "locate": (locate, columns.NAMES),
    "symbols": (symbol, symbols.NAMES),
    "blast": (blast, relations.NAMES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("cases", type=Path)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    make, names = KINDS[given.kind]
    cases = [json.loads(line) for line in given.cases.open(encoding="utf-8")]
    cases.sort(key=lambda case: (case["repo"], case["date"], case["id"]))
    with given.out.open("w", encoding="utf-8") as out:
        out.write(json.dumps({"names": names}) + "\n")
        for repo, group in groupby(cases, key=lambda case: str(case["repo"])):
            name = repo.replace("/", "+")
            git_dir = given.mirror / name / "repo"
            held = graph.Graph(objects.Repository(git_dir), store.Store(given.store / name))
            started, asked, count = time.monotonic(), 0.0, 0
            for case in group:
                revision = held.at(case["parent"])
                if given.kind == "symbols" and "gold_symbols" not in case:
                    case["gold_symbols"] = gold_symbols(git_dir, revision, case)
                before = time.monotonic()
                for key, paths, rows, gold in make(revision, case):
                    if not gold:
                        continue
                    kept = [[round(value, 4) for value in row] for row in rows]
                    line = {"id": key, "repo": repo, "gold": gold, "paths": paths, "rows": kept}
                    out.write(json.dumps(line, separators=(",", ":")) + "\n")
                    count += 1
                asked += time.monotonic() - before
            spent = f"{time.monotonic() - started:.0f} s, {1000 * asked / max(1, count):.0f} ms a question"
            print(f"{repo}: {count} questions, {spent}", file=sys.stderr)


if __name__ == "__main__":
    main()

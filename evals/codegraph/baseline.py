"""What plain BM25 over the files' contents answers to the benchmark's cases, in the grader's format.

    python -m evals.codegraph.baseline --mirror FOLDER --store FOLDER --out bm25.jsonl CASES

The same words, the same files and the same index as the product's, and nothing else: no names, no past, no links. Grade
both with `score.py locate CASES ours.jsonl --vs bm25.jsonl`.
"""

import argparse
import json
import sys
import time
from itertools import groupby
from pathlib import Path

from codegraph import graph, objects, question, store
from codegraph.evidence import Evidence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    cases = [json.loads(line) for line in given.cases.open(encoding="utf-8")]
    cases.sort(key=lambda case: (case["repo"], case["date"], case["id"]))
    with given.out.open("w", encoding="utf-8") as out:
        for repo, group in groupby(cases, key=lambda case: str(case["repo"])):
            name = repo.replace("/", "+")
            held = graph.Graph(objects.Repository(given.mirror / name / "repo"), store.Store(given.store / name))
            for case in group:
                sources = held.at(case["parent"]).sources
                before = time.monotonic()
                scores = Evidence(sources, question.read(case["text"]).weights).words
                spent = 1000 * (time.monotonic() - before)
                ranked = sorted(scores, key=lambda slot: (-scores[slot], sources.paths[slot]))[:50]
                row = {
                    "id": case["id"],
                    "ranked": [sources.paths[slot] for slot in ranked],
                    "query_ms": round(spent, 2),
                }
                out.write(json.dumps(row) + "\n")
            print(repo, file=sys.stderr)


if __name__ == "__main__":
    main()

"""Learn how likely two forecasts collide, from pairs of mined cases of one repository.

    python -m evals.codegraph.collide rows --mirror FOLDER --store FOLDER --out PAIRS CASES
    python -m evals.codegraph.collide learn --out codegraph/weights/conflict.json PAIRS

`rows` needs the weights of `locate` and `symbols`: it forecasts every case at its own parent and writes the columns of
every pair of one repository, with whether both really changed a file in common. `learn` needs numpy; it fits a
logistic regression, and the limit from which nine of ten real collisions are caught in repositories that it had not
seen.
"""

import argparse
import json
import sys
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

from codegraph import conflict, graph, objects, store

_RECALL = 0.9
_SMOOTHING = 3.0


def rows(given: argparse.Namespace) -> None:
    """Write the columns of every pair."""
    cases = [json.loads(line) for line in given.cases.open(encoding="utf-8")]
    cases.sort(key=lambda case: (case["repo"], case["date"], case["id"]))
    with given.out.open("w", encoding="utf-8") as out:
        for repo, group in groupby(cases, key=lambda case: str(case["repo"])):
            name = repo.replace("/", "+")
            held = graph.Graph(objects.Repository(given.mirror / name / "repo"), store.Store(given.store / name))
            known = [(case, conflict.forecast(held.at(case["parent"]), case["text"])) for case in group]
            for (one, first), (other, second) in combinations(known, 2):
                row = {"repo": repo, "both": int(bool(set(one["gold"]) & set(other["gold"])))}
                out.write(json.dumps({**row, "row": [round(x, 5) for x in conflict.columns(first, second)]}) + "\n")
            print(f"{repo}: {len(known)} cases", file=sys.stderr)


def fitted(known: Any, wanted: Any) -> Any:
    """Weights of a logistic regression by Newton's method, the offset last."""
    import numpy

    scale = known.std(axis=0) + 1e-6
    scaled = numpy.hstack([known / scale, numpy.ones((len(known), 1))])
    weights = numpy.zeros(scaled.shape[1])
    for _ in range(60):
        chance = 1.0 / (1.0 + numpy.exp(-numpy.clip(scaled @ weights, -30, 30)))
        slope = scaled.T @ (wanted - chance) - _SMOOTHING * weights
        bend = (scaled * (chance * (1.0 - chance))[:, None]).T @ scaled + _SMOOTHING * numpy.eye(len(weights))
        weights = weights + numpy.linalg.solve(bend, slope)
    weights[:-1] /= scale
    return weights


def learn(given: argparse.Namespace) -> None:
    """Fit on all pairs; measure the limit on repositories left out."""
    import numpy

    pairs = [json.loads(line) for line in given.cases.open(encoding="utf-8")]
    known = numpy.asarray([pair["row"] for pair in pairs])
    wanted = numpy.asarray([pair["both"] for pair in pairs], dtype=float)
    repos = sorted({pair["repo"] for pair in pairs})
    fold = numpy.asarray([repos.index(pair["repo"]) % 4 for pair in pairs])
    chances = numpy.zeros(len(pairs))
    for each in range(4):
        weights = fitted(known[fold != each], wanted[fold != each])
        chances[fold == each] = 1.0 / (1.0 + numpy.exp(-(known[fold == each] @ weights[:-1] + weights[-1])))
    limit = float(numpy.quantile(chances[wanted == 1], 1.0 - _RECALL))
    flagged = float((chances >= limit).mean())
    print(
        f"{len(pairs)} pairs, {wanted.mean():.3f} collide; {flagged:.3f} are serialized to catch 0.9", file=sys.stderr
    )
    weights = fitted(known, wanted)
    content = {
        "columns": conflict.NAMES,
        "weights": [float(f"{weight:.5g}") for weight in weights[:-1]],
        "offset": float(f"{weights[-1]:.5g}"),
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n")
    place = given.out.with_name("calibration.json")
    measured = json.loads(place.read_text()) if place.exists() else {}
    measured["conflict"] = {"threshold": round(limit, 4)}
    place.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("rows", "learn"))
    parser.add_argument("cases", type=Path)
    parser.add_argument("--mirror", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    (rows if given.verb == "rows" else learn)(given)


if __name__ == "__main__":
    main()

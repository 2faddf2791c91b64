"""Learn a ranker's weights from tables of mined cases, and write them as the JSON that ships.

    python -m evals.codegraph.train --out codegraph/weights/locate.json --calibrate TABLE [TABLE ...]

`--calibrate` also measures how scores become probabilities, on repositories that the weights had not seen, and writes
that into `calibration.json` beside the weights, under their name.

Needs numpy, scipy and lightgbm (`pip install scipy lightgbm`); the product needs none of them. Cases of a repository
are always on one side of a split, so that what is reported is what an unseen repository gets. The loss of the weighted
sum is listwise: within each case the right files share the probability of a soft maximum over its candidates. It does
better on repositories that it has not seen than gradient-boosted trees over the same columns, and both together do
better than either: so the trees are small, look only at the rows that the sum puts first, learn what the sum leaves to
be told, and are added to it.
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
from scipy.optimize import minimize

_SMOOTHING = 1.0
"""Weight of the squared weights in the loss, for columns of unit variance."""
_LOOKED_AT = 80
"""Rows of a case, the best by the sum, that trees learn from: those that they look at in the product."""
_TREES = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": 20,
    "learning_rate": 0.03,
    "num_leaves": 8,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 20.0,
    "seed": 7,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbose": -1,
}


class Cases:
    """Rows of several tables, a group a case."""

    def __init__(self, tables: Sequence[Path]) -> None:
        self.ids: list[str] = []
        self.repos: list[str] = []
        self.paths: list[list[str]] = []
        self.gold: list[set[str]] = []
        rows, labels = [], []
        self.names: list[str] = []
        for table in tables:
            with table.open(encoding="utf-8") as lines:
                for line in lines:
                    case = json.loads(line)
                    if "names" in case:
                        self.names = case["names"]
                        continue
                    self.ids.append(case["id"])
                    self.repos.append(case["repo"])
                    self.paths.append(case["paths"])
                    self.gold.append(set(case["gold"]))
                    row = numpy.asarray(case["rows"], dtype=numpy.float32)
                    rows.append(row.reshape(len(case["paths"]), len(self.names)))  # a case may have no candidates
                    labels.append(numpy.asarray([path in self.gold[-1] for path in case["paths"]], dtype=numpy.int32))
        self.rows, self.labels = rows, labels

    def usable(self, wanted: Sequence[int], least: int) -> list[int]:
        """Those of some cases that teach something: a right file among at least so many candidates."""
        return [place for place in wanted if self.labels[place].any() and len(self.rows[place]) >= least]


def measures(cases: Cases, scores: Mapping[int, Any]) -> dict[str, float]:
    """Means over cases of the grader's figures."""
    sums: dict[str, float] = defaultdict(float)
    for place, given in scores.items():
        order = sorted(range(len(given)), key=lambda row: (-given[row], cases.paths[place][row]))
        ranked = [cases.paths[place][row] for row in order]
        gold = cases.gold[place]
        hits = [rank for rank, path in enumerate(ranked, 1) if path in gold]
        for k in (5, 10, 20):
            hit = sum(rank <= k for rank in hits)
            sums[f"rec@{k}"] += hit / len(gold)
            sums[f"all@{k}"] += hit == len(gold)
        sums["any@1"] += bool(hits and hits[0] == 1)
        sums["mrr"] += 1 / hits[0] if hits else 0.0
    return {name: round(total / len(scores), 4) for name, total in sums.items()}


def calibrated(cases: Cases, scores: Mapping[int, Any], depth: int = 30) -> dict[str, float]:
    """Slope, offset and weight of the place in the logarithmic odds of a hit, by Newton's method."""
    rows, labels = [], []
    for place, given in scores.items():
        order = sorted(range(len(given)), key=lambda row: (-given[row], cases.paths[place][row]))[:depth]
        for rank, row in enumerate(order, 1):
            rows.append((1.0, given[row] - given[order[0]], -math.log(rank)))
            labels.append(float(cases.labels[place][row]))
    known, wanted = numpy.asarray(rows), numpy.asarray(labels)
    weights = numpy.zeros(3)
    for _ in range(50):
        chance = 1.0 / (1.0 + numpy.exp(-known @ weights))
        slope = known.T @ (wanted - chance) - 1e-3 * weights
        bend = (known * (chance * (1.0 - chance))[:, None]).T @ known + 1e-3 * numpy.eye(3)
        weights = weights + numpy.linalg.solve(bend, slope)
    return {"offset": round(weights[0], 4), "slope": round(weights[1], 4), "place": round(weights[2], 4)}


def learned(cases: Cases, places: Sequence[int], least: int) -> Any:
    """The weights of the columns, as they are computed, that lose least on these cases."""
    used = cases.usable(places, least)
    rows = numpy.concatenate([cases.rows[place] for place in used]).astype(numpy.float64)
    labels = numpy.concatenate([cases.labels[place] for place in used]).astype(numpy.float64)
    sizes = [len(cases.rows[place]) for place in used]
    starts = numpy.concatenate([[0], numpy.cumsum(sizes)[:-1]])
    group = numpy.repeat(numpy.arange(len(sizes)), sizes)
    scale = rows.std(axis=0) + 1e-6
    rows = (rows - rows.mean(axis=0)) / scale
    target = labels / numpy.add.reduceat(labels, starts)[group]

    def loss(weights: Any) -> tuple[float, Any]:
        scores = rows @ weights
        top = numpy.maximum.reduceat(scores, starts)[group]
        powers = numpy.exp(scores - top)
        total = numpy.add.reduceat(powers, starts)[group]
        lost = -(target * (scores - top - numpy.log(total))).sum() + _SMOOTHING * (weights @ weights)
        return float(lost), rows.T @ (powers / total - target) + 2 * _SMOOTHING * weights

    found = minimize(loss, numpy.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return found.x / scale


class Learned:
    """A weighted sum, and the trees that are added to it."""

    def __init__(self, cases: Cases, places: Sequence[int], given: argparse.Namespace) -> None:
        self.weights = learned(cases, places, given.least)
        self.share = given.share
        self.booster = self._boosted(cases, cases.usable(places, given.least), given.trees) if given.trees else None

    def _boosted(self, cases: Cases, used: Sequence[int], rounds: int) -> Any:
        import lightgbm

        sums = {place: cases.rows[place] @ self.weights for place in used}
        kept = {place: self._best(sums[place]) for place in used}
        rows = numpy.concatenate([cases.rows[place][best] for place, best in kept.items()])
        labels = numpy.concatenate([cases.labels[place][best] for place, best in kept.items()])
        start = numpy.concatenate([sums[place][best] for place, best in kept.items()])
        held = lightgbm.Dataset(rows, labels, group=[len(best) for best in kept.values()], init_score=start)
        return lightgbm.train(_TREES, held, num_boost_round=rounds)

    @staticmethod
    def _best(sums: Any) -> Any:
        return numpy.argsort(-sums, kind="stable")[:_LOOKED_AT]

    def scores(self, rows: Any) -> Any:
        """The scores of the rows of one case, as `codegraph.model.Weights.scores` gives them."""
        sums = rows @ self.weights
        if self.booster is None or not len(sums):
            return sums
        best = self._best(sums)
        added = self.share * self.booster.predict(rows[best], raw_score=True)
        whole = numpy.full(len(sums), added.min())
        whole[best] = added
        return sums + whole

    def content(self, names: Sequence[str]) -> dict[str, Any]:
        """What ships."""
        content = {"columns": list(names), "weights": [float(f"{weight:.5g}") for weight in self.weights]}
        if self.booster is not None:
            held = self.booster.dump_model()["tree_info"]
            content["trees"] = [_flat(tree["tree_structure"], self.share) for tree in held]
        return content


def _flat(root: dict[str, Any], share: float) -> dict[str, Any]:
    """A tree as the lists that `codegraph.model.Tree` reads."""
    flat: dict[str, Any] = {"columns": [], "limits": [], "below": [], "above": [], "leaves": []}

    def place(node: dict[str, Any]) -> int:
        if "leaf_value" in node:
            flat["leaves"].append(float(f"{share * node['leaf_value']:.5g}"))
            return -len(flat["leaves"])
        number = len(flat["columns"])
        flat["columns"].append(node["split_feature"])
        flat["limits"].append(float(f"{node['threshold']:.6g}"))
        flat["below"].append(0)
        flat["above"].append(0)
        flat["below"][number] = place(node["left_child"])
        flat["above"][number] = place(node["right_child"])
        return number

    place(root)
    return flat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--least", type=int, default=120, help="candidates that a case must have to teach")
    parser.add_argument("--trees", type=int, default=0, help="how many are added to the sum")
    parser.add_argument("--share", type=float, default=1.0, help="what the trees' scores are multiplied by")
    parser.add_argument("--folds", type=int, default=5, help="0: no cross-validation over repositories")
    parser.add_argument("--calibrate", action="store_true", help="needs --out and folds")
    parser.add_argument("--held-out", type=Path, nargs="*", default=[], help="tables that are only measured")
    given = parser.parse_args()
    cases = Cases(given.tables)
    everything = list(range(len(cases.ids)))
    repos = sorted(set(cases.repos))
    if given.folds:
        scores: dict[int, Any] = {}
        for fold in range(given.folds):
            out = set(repos[fold :: given.folds])
            made = Learned(cases, [place for place in everything if cases.repos[place] not in out], given)
            scores |= {place: made.scores(cases.rows[place]) for place in everything if cases.repos[place] in out}
        print("unseen repositories", len(scores), measures(cases, scores), file=sys.stderr)
        if given.calibrate:
            place = given.out.with_name("calibration.json")
            known = json.loads(place.read_text()) if place.exists() else {}
            known[given.out.stem] = {**known.get(given.out.stem, {}), **calibrated(cases, scores)}
            place.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    for column in ("words_top", "blend_top"):
        place = cases.names.index(column) if column in cases.names else -1
        if place >= 0:
            print(column, measures(cases, {each: cases.rows[each][:, place] for each in everything}), file=sys.stderr)
    made = Learned(cases, everything, given)
    for table in given.held_out:
        other = Cases([table])
        print(
            table.name,
            measures(other, {each: made.scores(other.rows[each]) for each in range(len(other.ids))}),
            file=sys.stderr,
        )
        for column in ("words_top", "blend_top"):
            if column not in other.names:
                continue
            place = other.names.index(column)
            print(
                table.name,
                column,
                measures(other, {each: other.rows[each][:, place] for each in range(len(other.ids))}),
                file=sys.stderr,
            )
    spread = numpy.concatenate([cases.rows[place] for place in everything]).std(axis=0)
    strongest = sorted(zip(abs(made.weights * spread), cases.names, strict=True), reverse=True)[:20]
    print("strongest:", ", ".join(f"{name} {weight:.2f}" for weight, name in strongest), file=sys.stderr)
    if given.out:
        lines = ",\n ".join(
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in made.content(cases.names).items()
        )
        given.out.write_text(f"{{{lines}}}\n")


if __name__ == "__main__":
    main()

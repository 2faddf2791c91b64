"""Learn a ranker's weights from tables of mined cases, and write them as the JSON that ships.

    python -m evals.codegraph.train --out codegraph/weights/locate.json --calibrate TABLE [TABLE ...]

`--calibrate` also measures how scores become probabilities, on repositories that the trees had not seen, and writes
that into `calibration.json` beside the weights, under their name.

Needs numpy and lightgbm (`pip install lightgbm`); the product needs neither. Cases of one repository are always on one
side of a split, so that what is reported is what an unseen repository gets.
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy

PARAMETERS: Mapping[str, Any] = {
    "objective": "lambdarank",
    "metric": "None",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "max_depth": 5,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "lambdarank_truncation_level": 20,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 20261120,
    "verbosity": -1,
    "num_threads": 1,
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
                    rows.append(numpy.asarray(case["rows"], dtype=numpy.float32))
                    labels.append(numpy.asarray([path in self.gold[-1] for path in case["paths"]], dtype=numpy.int32))
        self.rows, self.labels = rows, labels

    def picked(self, wanted: Sequence[int]) -> "lightgbm.Dataset":
        """A training set of these cases; those without a gold file among their candidates teach nothing."""
        wanted = [place for place in wanted if self.labels[place].any()]
        return lightgbm.Dataset(
            numpy.concatenate([self.rows[place] for place in wanted]),
            numpy.concatenate([self.labels[place] for place in wanted]),
            group=[len(self.rows[place]) for place in wanted],
            feature_name=list(self.names),
        )


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


def exported(booster: "lightgbm.Booster") -> list[dict[str, list[float]]]:
    """Trees as flat lists: node i asks whether column `column[i]` is at most `bound[i]`; a negative child is a leaf."""
    trees = []
    for tree in booster.dump_model()["tree_info"]:
        column: list[float] = []
        bound: list[float] = []
        left: list[float] = []
        right: list[float] = []
        leaves: list[float] = []

        def walk(node: Mapping[str, Any]) -> int:
            if "split_feature" not in node:
                leaves.append(round(node["leaf_value"], 6))  # noqa: B023 - called within the same turn of the loop
                return -len(leaves)  # noqa: B023 - as above
            place = len(column)  # noqa: B023 - as above
            column.append(node["split_feature"])  # noqa: B023 - as above
            bound.append(float(f"{node['threshold']:.6g}"))  # noqa: B023 - as above
            left.append(0)  # noqa: B023 - as above
            right.append(0)  # noqa: B023 - as above
            left[place] = walk(node["left_child"])  # noqa: B023 - as above
            right[place] = walk(node["right_child"])  # noqa: B023 - as above
            return place

        walk(tree["tree_structure"])
        trees.append({"column": column, "bound": bound, "left": left, "right": right, "leaves": leaves})
    return trees


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


def learned(cases: Cases, places: Sequence[int], rounds: int) -> "lightgbm.Booster":
    """Trees learned from these cases."""
    return lightgbm.train(dict(PARAMETERS), cases.picked(places), num_boost_round=rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
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
            booster = learned(cases, [place for place in everything if cases.repos[place] not in out], given.rounds)
            scores |= {place: booster.predict(cases.rows[place]) for place in everything if cases.repos[place] in out}
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
    booster = learned(cases, everything, given.rounds)
    for table in given.held_out:
        other = Cases([table])
        print(
            table.name,
            measures(other, {each: booster.predict(other.rows[each]) for each in range(len(other.ids))}),
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
    gains = sorted(zip(booster.feature_importance("gain"), cases.names, strict=True), reverse=True)
    print("gain:", ", ".join(f"{name} {gain:.0f}" for gain, name in gains[:25]), file=sys.stderr)
    if given.out:
        given.out.write_text(
            json.dumps({"columns": cases.names, "trees": exported(booster)}, separators=(",", ":")) + "\n"
        )


if __name__ == "__main__":
    main()

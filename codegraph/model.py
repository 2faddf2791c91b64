"""The learned weights: one number for each column of a table, and trees for what columns mean together. Data, not code;
read once."""

import functools
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any, NamedTuple

Row = Sequence[float]


_LOOKED_AT = 80
"""Rows of one table, the best by the sum alone, that the trees look at: they are for the order among the likely."""


class Tree(NamedTuple):
    """One regression tree: at each node a column is compared with a limit, at each leaf stands what it adds.

    Nodes have numbers from 0, and the tree begins at the first; a child below 0 is the leaf `-1 - child`.
    """

    columns: tuple[int, ...]
    limits: tuple[float, ...]
    below: tuple[int, ...]
    """The child of each node for a value up to its limit."""
    above: tuple[int, ...]
    leaves: tuple[float, ...]

    @classmethod
    def read(cls, content: dict[str, Any]) -> "Tree":
        """The tree that ships as five lists."""
        return cls(*(tuple(content[field]) for field in cls._fields))


def added(trees: Sequence[Tree], rows: Sequence[Row]) -> list[float]:
    """What trees add to each row, together."""
    sums = [0.0] * len(rows)
    for columns, limits, below, above, leaves in trees:
        first = 0 if columns else -1
        for place, row in enumerate(rows):
            node = first
            while node >= 0:
                node = below[node] if row[columns[node]] <= limits[node] else above[node]
            sums[place] += leaves[-1 - node]
    return sums


class Weights:
    """A weighted sum of columns, and trees over the same columns where the task has them.

    Raises:
        ValueError: The weights were learned for other columns than this version computes.
    """

    def __init__(self, content: dict[str, Any], columns: Sequence[str]) -> None:
        if list(content["columns"]) != list(columns):
            raise ValueError(
                "the weights name other columns than this version computes: they belong to another version"
            )
        self._weights = tuple(float(weight) for weight in content["weights"])
        self._offset = float(content.get("offset", 0.0))
        self._trees = tuple(Tree.read(tree) for tree in content.get("trees", ()))

    def score(self, row: Row) -> float:
        """The sum for one row."""
        return self._offset + math.fsum(weight * value for weight, value in zip(self._weights, row, strict=True))

    def scores(self, rows: Sequence[Row]) -> list[float]:
        """The scores of the rows of one table, in their order. Rows whose sum is low keep their places below: they get
        what the trees add at least."""
        sums = [self.score(row) for row in rows]
        if not self._trees:
            return sums
        best = sorted(range(len(rows)), key=lambda place: (-sums[place], place))[:_LOOKED_AT]
        more = dict(zip(best, added(self._trees, [rows[place] for place in best]), strict=True))
        least = min(more.values(), default=0.0)
        return [score + more.get(place, least) for place, score in enumerate(sums)]

    def parts(self, row: Row) -> list[float]:
        """What each column gave to the sum."""
        return [weight * value for weight, value in zip(self._weights, row, strict=True)]


def _read(name: str) -> dict[str, Any]:
    text = resources.files("codegraph").joinpath("weights", f"{name}.json").read_text("utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@functools.cache
def load(name: str, columns: tuple[str, ...]) -> Weights:
    """The shipped weights of one task (`locate`, `symbols`, `blast`, `conflict`)."""
    return Weights(_read(name), columns)


class Calibration:
    """Turns the scores of one answer into probabilities: how likely each file is touched."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._slope = float(content["slope"])
        self._offset = float(content["offset"])
        self._place = float(content["place"])

    def probabilities(self, scores: Sequence[float]) -> list[float]:
        """Probabilities of scores given best first: they fall with the distance to the best and with the place."""
        best = scores[0] if scores else 0.0
        return [
            logistic(self._offset + self._slope * (score - best) - self._place * math.log(place))
            for place, score in enumerate(scores, 1)
        ]


def logistic(value: float) -> float:
    """The probability whose logarithmic odds are `value`."""
    return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0


@functools.cache
def calibration(name: str) -> Calibration:
    """The calibration that was measured for the weights of a task."""
    return Calibration(_read("calibration")[name])


@functools.cache
def threshold(name: str) -> float:
    """The probability from which a task says yes, as it was measured with its weights."""
    return float(_read("calibration")[name]["threshold"])

"""The learned weights: a sum of small decision trees over the columns of a table. Data, not code; read once."""

import functools
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

Row = Sequence[float]


class Trees:
    """A sum of decision trees.

    Raises:
        ValueError: The weights were learned for other columns than this version computes.
    """

    def __init__(self, content: dict[str, Any], columns: Sequence[str]) -> None:
        learned = list(content["columns"])
        if learned != list(columns[: len(learned)]):
            raise ValueError(
                "the weights name other columns than this version computes: they belong to another version"
            )
        self._trees = [
            (tree["column"], tree["bound"], tree["left"], tree["right"], tree["leaves"]) for tree in content["trees"]
        ]

    def score(self, row: Row) -> float:
        """The sum of all trees' answers for one row."""
        total = 0.0
        for column, bound, left, right, leaves in self._trees:
            node = 0 if column else -1
            while node >= 0:
                node = left[node] if row[column[node]] <= bound[node] else right[node]
            total += leaves[-node - 1]
        return total


@functools.cache
def load(name: str, columns: tuple[str, ...]) -> Trees:
    """The shipped weights of one task (`locate`, `blast`, `conflict`)."""
    text = resources.files("codegraph").joinpath("weights", f"{name}.json").read_text("utf-8")
    return Trees(json.loads(text), columns)


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
def _measured() -> dict[str, Any]:
    text = resources.files("codegraph").joinpath("weights", "calibration.json").read_text("utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@functools.cache
def calibration(name: str) -> Calibration:
    """The calibration that was measured for the weights of a task."""
    return Calibration(_measured()[name])


def threshold(name: str) -> float:
    """The probability from which a task says yes, as it was measured with its weights."""
    return float(_measured()[name]["threshold"])

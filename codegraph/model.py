"""The learned weights: one number for each column of a table. Data, not code; read once."""

import functools
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

Row = Sequence[float]


class Weights:
    """A weighted sum of columns. Being a sum, it can say what each kind of evidence gave.

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

    def score(self, row: Row) -> float:
        """The sum for one row."""
        return self._offset + math.fsum(weight * value for weight, value in zip(self._weights, row, strict=True))

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

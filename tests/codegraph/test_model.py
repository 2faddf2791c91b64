"""The learned weights: a sum of columns, and trees for what columns mean together."""

from typing import Any

import pytest

from codegraph import columns, conflict, model, relations, symbols

_STEP: dict[str, Any] = {"columns": [0], "limits": [0.5], "below": [-1], "above": [-2], "leaves": [1.0, 5.0]}
"""1 up to a half, 5 above."""
_BOTH: dict[str, Any] = {
    "columns": [0, 1],
    "limits": [0.5, 2.0],
    "below": [-1, -2],
    "above": [1, -3],
    "leaves": [0.0, 10.0, 20.0],
}
"""What the second column means depends on the first one."""


def _weights(*trees: dict[str, Any]) -> model.Weights:
    return model.Weights({"columns": ["a", "b"], "weights": [2.0, 1.0], "trees": list(trees)}, ("a", "b"))


@pytest.mark.parametrize(
    ("row", "score"), [((0.5, 9.0), 0.0), ((0.6, 2.0), 10.0), ((0.6, 2.1), 20.0), ((0.4, 0.0), 0.0)]
)
def test_a_tree_goes_below_up_to_its_limit_and_above_beyond_it(row: tuple[float, float], score: float) -> None:
    assert model.added([model.Tree.read(_BOTH)], [row]) == [score]


def test_a_tree_of_one_leaf_adds_it_to_every_row() -> None:
    leaf = model.Tree.read({"columns": [], "limits": [], "below": [], "above": [], "leaves": [0.5]})
    assert model.added([leaf], [(1.0,), (2.0,)]) == [0.5, 0.5]


def test_trees_are_added_to_the_sum() -> None:
    assert _weights(_STEP, _BOTH).scores([(0.0, 1.0), (1.0, 3.0)]) == [0.0 + 1.0 + 1.0, 2.0 + 3.0 + 5.0 + 20.0]
    assert _weights().scores([(0.0, 1.0), (1.0, 3.0)]) == [1.0, 5.0]
    assert _weights(_STEP).scores([]) == []


def test_rows_far_below_the_best_get_no_more_than_the_least_that_the_trees_add() -> None:
    """Trees are learned for the order among the likely: what is unlikely by the sum cannot jump over all of them."""
    likely = [(0.4, 100.0 - place) for place in range(80)]
    unlikely = (0.9, 0.0)
    scores = _weights(_STEP).scores([*likely, unlikely])
    assert scores[-1] == 0.9 * 2 + 1.0
    assert scores[-1] == min(scores)


def test_weights_of_other_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="other columns"):
        model.Weights({"columns": ["a"], "weights": [1.0]}, ("a", "b"))


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("locate", columns.NAMES),
        ("symbols", symbols.NAMES),
        ("blast", relations.NAMES),
        ("conflict", conflict.NAMES),
    ],
)
def test_what_ships_fits_the_columns_and_every_tree_ends_at_its_leaves(task: str, names: tuple[str, ...]) -> None:
    shipped = model.load(task, names)
    for row in ([0.0] * len(names), [1.0] * len(names), [1e9] * len(names), [-1e9] * len(names)):
        (score,) = shipped.scores([row])
        assert score == score  # a number: every path of every tree came to a leaf

"""Numbers beside their goals."""

import io
import json

import pytest
from rich import console

from evals import scoreboard


def row(value: float | None, **given: object) -> scoreboard.Row:
    return scoreboard.Row.model_validate(
        {"name": "latency", "what": "how long", "value": value, "unit": "s", "load": 0.5, **given}
    )


@pytest.mark.parametrize(
    ("value", "given", "met"),
    [
        (3, {"goal": 3}, True),
        (3.1, {"goal": 3}, False),
        (60, {"goal": 60, "at_least": True}, True),
        (59, {"goal": 60, "at_least": True}, False),
        (3, {}, None),
        (None, {"goal": 3}, None),
    ],
)
def test_a_goal_is_a_bound_from_the_side_that_it_says(
    value: float | None, given: dict[str, object], met: bool | None
) -> None:
    assert row(value, **given).met is met


def test_the_table_names_measure_goal_verdict_and_load() -> None:
    board = scoreboard.Board(command="bench", rows=[row(4.25, goal=3), row(1, name="other")])
    out = io.StringIO()
    board.show(console.Console(file=out, width=120))
    line = next(line for line in out.getvalue().splitlines() if "latency" in line)
    assert line.split() == ["latency", "4.25", "s", "≤", "3", "s", "MISSED", "0.5", "how", "long"]


def test_json_says_what_the_table_says() -> None:
    board = scoreboard.Board(command="bench", rows=[row(4.25, goal=3)])
    found = json.loads(board.as_json())
    assert (found["rows"][0]["value"], found["rows"][0]["met"]) == (4.25, False)
    assert {"cores", "memory", "python"} <= set(found["machine"])


def test_what_was_not_measured_is_said_in_so_many_words_and_is_no_number() -> None:
    board = scoreboard.Board(command="bench", rows=[row(None, goal=3, what="not measured: there is no such program")])
    out = io.StringIO()
    board.show(console.Console(file=out, width=160))
    line = next(line for line in out.getvalue().splitlines() if "latency" in line)
    assert "not measured" in line.split("≤")[0]
    assert "MISSED" not in line
    found = json.loads(board.as_json())["rows"][0]
    assert (found["value"], found["met"]) == (None, None)


def test_the_95th_percentile_leaves_one_in_twenty_above_it_and_the_99th_one_in_a_hundred() -> None:
    found = scoreboard.spread(list(range(1, 101)))
    assert (found["p50"], found["p95"], found["p99"], found["most"], found["count"]) == (50.5, 95, 99, 100, 100)


def test_of_few_values_both_percentiles_are_the_largest_one() -> None:
    found = scoreboard.spread([3, 1, 2])
    assert (found["p95"], found["p99"], found["least"]) == (3, 3, 1)

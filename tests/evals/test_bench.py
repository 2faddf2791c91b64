"""The benchmark command as `make bench` runs it, on tiny numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import host_death

ROOT = Path(__file__).parents[2]


def bench(*words: str, seconds: float = 58) -> "subprocess.CompletedProcess[str]":
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("FETTLE_", "TEMPORAL_"))}
    return subprocess.run(
        [sys.executable, "-m", "evals.bench", *words],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


@pytest.mark.e2e
@pytest.mark.slow
def test_a_merge_is_measured_on_a_whole_installation() -> None:
    done = bench("--quick", "--json", "--only", "merge")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert list(rows) == ["issue-to-merge-p50", "issue-to-merge-p95", "events-per-run"]
    detail = rows["issue-to-merge-p50"]["detail"]
    assert detail["merged_seconds"]["count"] == 1
    assert 0 < rows["issue-to-merge-p50"]["value"] < detail["closed_seconds"]["most"]
    assert detail["run_seconds_by_cause"]["claim_issue: work"] > 0
    assert rows["events-per-run"]["value"] > 50
    assert "issue-to-merge-p50" in done.stderr


def measured(*words: str, seconds: float = 58) -> dict[str, dict[str, Any]]:
    """The rows of one quick measure by their names."""
    done = bench("--quick", "--json", *words, seconds=seconds)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["rows"]}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_turn_is_compared_with_its_bare_command_by_each_way_that_works_here() -> None:
    rows = measured("--only", "turn-overhead", seconds=110)
    assert list(rows) == ["turn-overhead", "turn-overhead-bubblewrap", "turn-overhead-claude"]
    assert rows["turn-overhead"]["value"] is not None
    for row in rows.values():
        if row["value"] is None:
            assert row["what"].startswith("not measured: ")
            assert row["met"] is None
            continue
        found = row["detail"]
        assert found["added_ms"]["least"] <= row["value"] <= found["added_ms"]["most"]
        assert found["bare_ms"]["least"] > 0
        assert found["added_cpu_ms"]["count"] == found["turn_ms"]["count"] == found["bare_ms"]["count"] >= 1


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_cancel_is_measured_until_no_process_of_the_agent_is_left() -> None:
    rows = measured("--only", "cancel", seconds=140)
    assert list(rows) == ["cancel-p50", "cancel-p99", "cancel-max", "cancel-ended-p99"]
    assert 0 < rows["cancel-p50"]["value"] <= rows["cancel-p99"]["value"] <= rows["cancel-max"]["value"]
    detail = rows["cancel-p50"]["detail"]
    assert detail["quiescent_seconds"]["count"] == detail["ended_seconds"]["count"] == 2
    assert detail["ended_while_processes_lived"] == 0
    assert rows["cancel-p99"]["goal"] == 10


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_move_is_measured_with_what_the_other_host_asks_again() -> None:
    rows = measured("--only", "move", seconds=290)
    assert list(rows) == ["move", "move-respent", "move-unkept"]
    assert rows["move"]["value"] > 0
    [respent], [made] = rows["move"]["detail"]["respent"], rows["move"]["detail"]["made"]
    assert 0 <= respent <= made <= host_death.REQUESTS
    assert rows["move-respent"]["value"] == pytest.approx(100 * respent / max(made, 1), abs=0.01)
    assert rows["move-unkept"]["value"] > 0


def test_without_json_the_table_comes_first_and_one_line_of_json_after_it() -> None:
    done = bench("--quick", "--only", "help")
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    assert any(line.split()[:1] == ["help"] for line in table)
    assert [row["name"] for row in json.loads(last)["rows"]] == ["help", "help-cpu", "help-ratio"]


def test_an_unknown_measure_is_refused_with_those_that_exist() -> None:
    done = bench("--only", "speed")
    assert done.returncode == 2
    assert "merge-polled" in done.stderr

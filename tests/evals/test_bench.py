"""The benchmark command as `make bench` runs it, on tiny numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bench(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("FETTLE_", "TEMPORAL_"))}
    return subprocess.run(
        [sys.executable, "-m", "evals.bench", *words],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=58,
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

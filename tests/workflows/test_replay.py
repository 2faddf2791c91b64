"""Today's workflow code replays the histories of yesterday's runs. A failure here would stall a user's run."""

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from domain import run, steps
from tests.workflows import record, record_breakdown, record_leases, record_turns
from workers import topology

RECORDINGS = sorted(record.FOLDER.glob("*/*.json"))
HAPPY = record.FOLDER / "issue" / "happy-full-auto.json"


def read(path: Path) -> tuple[WorkflowHistory, list[Mapping[str, Any]]]:
    found = json.loads(path.read_text())
    started = found["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], found), found["events"]


async def replay(path: Path) -> None:
    replayer = Replayer(
        workflows=topology.WORKFLOWS,
        workflow_runner=topology.runner(),
        data_converter=pydantic_data_converter,
    )
    await replayer.replay_workflow(read(path)[0])


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
async def test_a_recorded_history_replays(path: Path) -> None:
    await replay(path)


def test_every_workflow_type_and_every_scenario_is_recorded() -> None:
    types = {read(p)[1][0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"] for p in RECORDINGS}
    assert types == {workflow._Definition.must_from_class(w).name for w in topology.WORKFLOWS}
    scenarios = (each.SCENARIOS for each in (record, record_turns, record_breakdown, record_leases))
    assert {p.stem for p in RECORDINGS} >= {name for names in scenarios for name in names}
    assert len(record.SCENARIOS) >= 8


@pytest.mark.parametrize(
    ("recording", "kinds"),
    [
        ("issue/cancelled-mid-turn", {"WORKFLOW_EXECUTION_CANCELED", "CHILD_WORKFLOW_EXECUTION_CANCELED"}),
        ("implement/cancelled-mid-turn", {"ACTIVITY_TASK_CANCELED", "WORKFLOW_EXECUTION_CANCELED"}),
        ("issue/stale-approval-refused", {"WORKFLOW_EXECUTION_SIGNALED", "WORKFLOW_EXECUTION_UPDATE_COMPLETED"}),
        ("issue/stuck-and-retried", {"ACTIVITY_TASK_FAILED", "WORKFLOW_EXECUTION_COMPLETED"}),
        ("implement/failed-budgets", {"ACTIVITY_TASK_FAILED", "WORKFLOW_EXECUTION_COMPLETED"}),
        ("fleet/paused-and-resumed", {"WORKFLOW_EXECUTION_UPDATE_COMPLETED", "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED"}),
    ],
)
def test_a_recording_holds_what_its_name_says(recording: str, kinds: set[str]) -> None:
    events = read(record.FOLDER / f"{recording}.json")[1]
    assert kinds <= {e["eventType"].removeprefix("EVENT_TYPE_") for e in events}


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_recording_names_no_machine(path: Path) -> None:
    text = path.read_text() + "".join(payloads(json.loads(path.read_text())))
    machine = ("site-packages", str(Path.home()), str(record.FOLDER.parents[1]), socket.gethostname(), "Traceback")
    assert [part for part in machine if part in text] == []


def payloads(found: object) -> Iterator[str]:
    """The text of every payload: histories carry it as base64."""
    if isinstance(found, list):
        for item in found:
            yield from payloads(item)
    elif isinstance(found, dict):
        if isinstance(found.get("data"), str):
            yield base64.b64decode(found["data"]).decode()
        for item in found.values():
            yield from payloads(item)


async def test_a_workflow_that_skips_a_recorded_step_fails_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests above could not fail."""
    decide = steps.next_step

    def changed(state: run.State) -> steps.Step:
        step = decide(state)
        return steps.Step.AWAIT_CI if step is steps.Step.POST_REVIEW else step

    await replay(HAPPY)
    monkeypatch.setattr(steps, "next_step", changed)
    with pytest.raises(workflow.NondeterminismError):
        await replay(HAPPY)

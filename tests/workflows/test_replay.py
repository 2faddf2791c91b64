"""Today's workflow code replays the histories of yesterday's runs. A failure here would stall a user's run."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from domain import run, steps
from tests.workflows import installation, record, record_breakdown, record_leases, record_turns
from workers import topology

RECORDINGS = sorted(record.FOLDER.glob("*/*.json"))
MACHINE = re.compile(r"(?<![\w./:-])/\w|site-packages|Traceback")
"""An absolute path, or a place in a program."""
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
    """No more than the test's own machine does: its name may be a word of every recording."""
    found = list(texts(json.loads(path.read_text())))
    assert {text for name, text in found if name == "identity"} <= {installation.IDENTITY, "history-service"}
    assert [text for _, text in found if MACHINE.search(text)] == []


@pytest.mark.parametrize("text", ["in /home/ann/fettle/x.py", '{"at": "/w"}', "lib/site-packages/x", "Traceback (most"])
def test_what_names_a_machine_is_known(text: str) -> None:
    assert MACHINE.search(text)
    assert not MACHINE.search("acme/api at https://forge.test/acme/api, 1/2 and a / b")


def texts(found: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text with the name of its field; histories carry payloads as base64."""
    if isinstance(found, str):
        yield name, base64.b64decode(found).decode() if name == "data" else found
    elif isinstance(found, list):
        for item in found:
            yield from texts(item, name)
    elif isinstance(found, dict):
        for key, item in found.items():
            yield from texts(item, key)


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

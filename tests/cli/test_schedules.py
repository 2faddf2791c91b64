"""People steer the schedules that look for new issues."""

import asyncio
from pathlib import Path
from typing import Any

from tests.cli.world import World, asay
from workers import schedules, settings


async def make(runs: World, tmp_path: Path) -> str:
    config = settings.Settings(state_dir=tmp_path, intake_interval_seconds=3600)
    return (await schedules.ensure_intake(runs.client, runs.repo, config)).id


async def test_list_shows_state_and_interval(runs: World, tmp_path: Path) -> None:
    name = await make(runs, tmp_path)
    found: dict[str, Any] = {}
    async with asyncio.timeout(20):
        while name not in found:  # a list lags a little behind, as `World.listed` says
            found = {s["name"]: s for s in (await asay("schedules", "list", "--json")).json}
    assert (found[name]["paused"], found[name]["every_seconds"]) == (False, 3600)
    printed = await asay("schedules", "list")
    assert name in printed.out
    assert "every 1h 0m" in printed.out


async def test_pause_says_who_and_resume_goes_on(runs: World, tmp_path: Path) -> None:
    name = await make(runs, tmp_path)
    paused = await asay("schedules", "pause", str(runs.repo), "--note", "release day")
    assert paused.out == f"{name} is paused: paused by ann: release day\n"
    resumed = await asay("schedules", "resume", name, "--json")
    assert (resumed.json["paused"], resumed.json["note"]) == (False, "resumed by ann")


async def test_trigger_looks_now(runs: World, tmp_path: Path) -> None:
    name = await make(runs, tmp_path)
    first = runs.client.get_schedule_handle(name)
    async with asyncio.timeout(20):  # the look at the start: while one is under way, another one is skipped
        while not (info := (await first.describe()).info).recent_actions or info.running_actions:  # noqa: ASYNC110 - as below
            await asyncio.sleep(0.05)  # the server does not say when it has ended
    found = await asay("schedules", "trigger", str(runs.repo))
    assert (found.code, found.out) == (0, f"{name} was asked to look now\n")
    await runs.listed(f"WorkflowId STARTS_WITH '{name}' AND ExecutionStatus = 'Completed'", count=2)


async def test_a_schedule_that_is_not_there_is_refused(runs: World) -> None:
    found = await asay("schedules", "pause", "acme/nothing")
    assert found.code == 1
    assert "there is no schedule intake/acme/nothing" in found.err


async def test_no_schedule_but_intake_can_be_steered(runs: World) -> None:
    found = await asay("schedules", "pause", "janitor")
    assert "there is no schedule intake/janitor" in found.err

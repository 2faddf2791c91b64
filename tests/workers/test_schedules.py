"""The intake schedule of a repository on a real server: made, updated, never taken out of a person's hands."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, ScheduleActionStartWorkflow, ScheduleOverlapPolicy

from activities import intake_pace
from domain import intake, refs, wire
from workers import connection, embedded, ports, schedules, settings

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    folder = tmp_path_factory.mktemp("schedules")
    chosen = ports.choose({}, None, automatic=True)
    null = asyncio.subprocess.DEVNULL
    command = embedded.command(folder / "temporal.db", chosen)
    process = await asyncio.create_subprocess_exec(*command, stdout=null, stderr=null)
    try:
        await embedded.wait_until_ready(f"{ports.HOST}:{chosen.temporal}", seconds=40)
        yield await connection.connect("test", address=f"{ports.HOST}:{chosen.temporal}")
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def repo() -> refs.Repository:
    return refs.Repository(owner="acme", name=f"api{next(_numbers)}")


def told(tmp_path: Path, seconds: float = 60) -> settings.Settings:
    return settings.Settings(state_dir=tmp_path, intake_interval_seconds=seconds)


async def test_the_schedule_starts_the_intake_and_forgives_an_outage(
    temporal: Client, repo: refs.Repository, tmp_path: Path
) -> None:
    handle = await schedules.ensure_intake(temporal, repo, told(tmp_path))
    made = (await handle.describe()).schedule
    assert handle.id == f"intake/{repo}"
    assert isinstance(made.action, ScheduleActionStartWorkflow)
    assert (made.action.workflow, made.action.task_queue) == (wire.ISSUE_INTAKE_WORKFLOW, wire.CONTROL_QUEUE)
    assert made.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert made.policy.catchup_window == timedelta(minutes=15)
    assert made.policy.pause_on_failure is False
    assert made.spec.jitter == timedelta(seconds=6)
    (given,) = await temporal.data_converter.decode(made.action.args, [intake.IntakeRequest])  # type: ignore[arg-type]  # raw payloads of a description
    assert given == intake.IntakeRequest(repo=repo)


async def test_ensuring_again_takes_the_new_interval(temporal: Client, repo: refs.Repository, tmp_path: Path) -> None:
    await schedules.ensure_intake(temporal, repo, told(tmp_path))
    handle = await schedules.ensure_intake(temporal, repo, told(tmp_path, 20))
    (interval,) = (await handle.describe()).schedule.spec.intervals
    assert interval.every == timedelta(seconds=20)


async def test_ensuring_again_keeps_a_persons_pause_and_note(
    temporal: Client, repo: refs.Repository, tmp_path: Path
) -> None:
    handle = await schedules.ensure_intake(temporal, repo, told(tmp_path))
    await handle.pause(note="release day")
    await schedules.ensure_intake(temporal, repo, told(tmp_path, 20))
    state = (await handle.describe()).schedule.state
    assert (state.paused, state.note) == (True, "release day")


async def test_removing_twice_is_removing_once(temporal: Client, repo: refs.Repository, tmp_path: Path) -> None:
    await schedules.ensure_intake(temporal, repo, told(tmp_path))
    assert await schedules.remove_intake(temporal, repo)
    assert not await schedules.remove_intake(temporal, repo)


async def test_a_repository_is_looked_at_as_often_as_its_file_asks(
    temporal: Client, repo: refs.Repository, tmp_path: Path
) -> None:
    handle = await schedules.ensure_intake(temporal, repo, told(tmp_path))
    await handle.pause(note="release day")
    assert await intake_pace.align(temporal, repo, timedelta(seconds=300))
    found = (await handle.describe()).schedule
    assert [interval.every for interval in found.spec.intervals] == [timedelta(seconds=300)]
    assert found.spec.jitter == timedelta(seconds=10)
    assert (found.state.paused, found.state.note) == (True, "release day")
    assert not await intake_pace.align(temporal, repo, timedelta(seconds=300))
    assert await intake_pace.align(temporal, repo, timedelta(seconds=60))


async def test_a_repository_without_a_schedule_has_no_pace(temporal: Client, repo: refs.Repository) -> None:
    assert not await intake_pace.align(temporal, repo, timedelta(seconds=300))

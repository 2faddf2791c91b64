"""The intake schedules as people see and steer them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel
from rich import console, text
from temporalio.client import Client, ScheduleDescription, ScheduleHandle
from temporalio.service import RPCError, RPCStatusCode

from cli import failures, render
from workers import schedules

_AT_ONCE = 10


class Shown(BaseModel):
    """One schedule. Times are UTC; `missed` counts looks that the server could not make in time."""

    name: str
    paused: bool
    note: str = ""
    every_seconds: float = 0
    last: datetime | None = None
    next: datetime | None = None
    looks: int = 0
    skipped: int = 0
    missed: int = 0


async def list_all(client: Client) -> list[Shown]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> Shown | None:
        async with gate:
            try:
                return _shown(await client.get_schedule_handle(name).describe())
            except RPCError as failed:  # the list lags: one that was just removed is still in it
                if failed.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise

    found = [s.id async for s in await client.list_schedules() if s.id.startswith(schedules.INTAKE_PREFIX)]
    shown = await asyncio.gather(*(one(name) for name in sorted(found)))
    return [s for s in shown if s is not None]


async def pause(client: Client, name: str, by: str, note: str) -> Shown:
    handle, _ = await _find(client, name)
    await handle.pause(note=f"paused by {by}{f': {note}' if note else ''}")
    return _shown(await handle.describe())


async def resume(client: Client, name: str, by: str, note: str) -> Shown:
    handle, _ = await _find(client, name)
    await handle.unpause(note=f"resumed by {by}{f': {note}' if note else ''}")
    return _shown(await handle.describe())


async def trigger(client: Client, name: str) -> Shown:
    handle, found = await _find(client, name)
    await handle.trigger()
    return _shown(found)


async def find(client: Client, schedule_id: str) -> Shown | None:
    """One schedule by its id, None when there is none."""
    try:
        return _shown(await client.get_schedule_handle(schedule_id).describe())
    except RPCError as failed:
        if failed.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


def table(found: Sequence[Shown]) -> console.RenderableType:
    if not found:
        return text.Text("there is no intake schedule: fettle repo add owner/name makes one")
    rows = [
        (
            s.name,
            "paused" if s.paused else f"every {render.span(s.every_seconds)}",
            render.moment(s.last),
            "" if s.paused else render.moment(s.next),
            str(s.looks),
            s.note if s.paused else "",
        )
        for s in found
    ]
    return render.grid(("schedule", "state", "last look", "next look", "looks", "note"), rows)


async def _find(client: Client, name: str) -> tuple[ScheduleHandle, ScheduleDescription]:
    """Only ids below `intake/` are ours to steer."""
    schedule_id = name if name.startswith(schedules.INTAKE_PREFIX) else f"{schedules.INTAKE_PREFIX}{name}"
    handle = client.get_schedule_handle(schedule_id)
    try:
        return handle, await handle.describe()
    except RPCError as failed:
        if failed.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise failures.Failed(
            f"there is no schedule {schedule_id}: see fettle schedules list, or make one with fettle repo add"
        ) from failed


def _shown(found: ScheduleDescription) -> Shown:
    every = found.schedule.spec.intervals
    return Shown(
        name=found.id,
        paused=found.schedule.state.paused,
        note=found.schedule.state.note or "",
        every_seconds=every[0].every.total_seconds() if every else 0,
        last=found.info.recent_actions[-1].started_at if found.info.recent_actions else None,
        next=found.info.next_action_times[0] if found.info.next_action_times else None,
        looks=found.info.num_actions,
        skipped=found.info.num_actions_skipped_overlap,
        missed=found.info.num_actions_missed_catchup_window,
    )

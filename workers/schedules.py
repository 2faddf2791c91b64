"""The intake schedule of each repository: made, brought up to date and removed here, steered by people."""

import dataclasses
from datetime import timedelta
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import Priority
from temporalio.service import RPCError, RPCStatusCode

from activities import intake_pace
from domain import intake, refs, wire
from workers import settings

INTAKE_PREFIX: Final = intake_pace.PREFIX
_CATCH_UP: Final = timedelta(minutes=15)
"""After an outage one look finds everything; the server's default of a year would replay every missed one."""
_NOTE: Final = "made by fettle repo add; pause it with fettle schedules pause"


def intake_id(repo: refs.Repository) -> str:
    return intake_pace.schedule_id(repo)


async def ensure_intake(client: Client, repo: refs.Repository, config: settings.Settings) -> ScheduleHandle:
    """Create the schedule of `repo`, or bring it up to date. A person's pause and its note stay as they are."""
    wanted = _schedule(repo, timedelta(seconds=config.intake_interval_seconds))
    try:
        return await client.create_schedule(intake_id(repo), wanted, trigger_immediately=True)
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(intake_id(repo))

    def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:  # may run more than once
        return ScheduleUpdate(dataclasses.replace(wanted, state=found.description.schedule.state))

    await handle.update(updated)
    return handle


async def remove_intake(client: Client, repo: refs.Repository) -> bool:
    """Delete the schedule of `repo`; False when there was none."""
    try:
        await client.get_schedule_handle(intake_id(repo)).delete()
    except RPCError as failed:
        if failed.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


def _schedule(repo: refs.Repository, every: timedelta) -> Schedule:
    request = intake.IntakeRequest(repo=repo)
    return Schedule(
        action=ScheduleActionStartWorkflow(
            wire.ISSUE_INTAKE_WORKFLOW,
            request,
            id=intake_id(repo),
            task_queue=wire.CONTROL_QUEUE,
            static_summary=f"New issues of {repo}",
            execution_timeout=_CATCH_UP,  # a look that hangs would make every later one be skipped
            priority=Priority(priority_key=4, fairness_key=str(repo)[:64]),
        ),
        spec=intake_pace.spec(every),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP, pause_on_failure=False),
        state=ScheduleState(note=_NOTE),
    )

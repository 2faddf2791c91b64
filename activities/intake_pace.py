"""How often a repository is looked at: the installation's interval, or a longer one that its WORKFLOW.md asks for."""

import dataclasses
from datetime import timedelta
from typing import Final

from temporalio import client, service

from domain import refs

PREFIX: Final = "intake/"
_JITTER_SHARE: Final = 10
_MOST_JITTER: Final = timedelta(seconds=10)


def schedule_id(repo: refs.Repository) -> str:
    return f"{PREFIX}{repo}"


def spec(every: timedelta) -> client.ScheduleSpec:
    """An interval with some jitter, so that hundreds of repositories are not looked at in the same second."""
    return client.ScheduleSpec(
        intervals=[client.ScheduleIntervalSpec(every=every)], jitter=min(every / _JITTER_SHARE, _MOST_JITTER)
    )


async def align(temporal: client.Client, repo: refs.Repository, every: timedelta) -> bool:
    """Bring the repository's schedule to this interval; whether it had another. Safe to repeat, and without a schedule
    there is nothing to do. A person's pause stays."""
    handle = temporal.get_schedule_handle(schedule_id(repo))
    try:
        found = (await handle.describe()).schedule.spec
        if [interval.every for interval in found.intervals] == [every]:
            return False
        await handle.update(
            lambda given: client.ScheduleUpdate(dataclasses.replace(given.description.schedule, spec=spec(every)))
        )
    except service.RPCError as error:
        if error.status is service.RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True

"""Heartbeats of an activity that waits for a process it cannot look into."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pydantic import BaseModel
from temporalio import activity

_BEAT_SECONDS: Final = 5.0
"""Well below the heartbeat time-out of every activity that works on a host's disk."""


@asynccontextmanager
async def beating(*progress: BaseModel) -> AsyncIterator[None]:
    """Heartbeat while the body waits for git or a command; a cancellation reaches the body by way of it. `progress` is
    what the next attempt finds."""

    async def beat() -> None:
        while True:
            activity.heartbeat(*progress)
            await asyncio.sleep(_BEAT_SECONDS)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})

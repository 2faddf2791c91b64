import asyncio

import pytest
from temporalio.testing import ActivityEnvironment

from activities import heartbeats


async def test_waiting_body_is_reported_alive_and_nothing_beats_after_it() -> None:
    beaten = asyncio.Event()
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: beaten.set()
    before = asyncio.all_tasks()

    async def wait() -> set[asyncio.Task[object]]:
        async with heartbeats.beating():
            await beaten.wait()
        return asyncio.all_tasks() - before - {asyncio.current_task()}

    assert await environment.run(wait) == set()


async def test_failure_of_the_body_ends_the_beat() -> None:
    before = asyncio.all_tasks()

    async def fail() -> None:
        async with heartbeats.beating():
            raise ValueError("the body's own")

    with pytest.raises(ValueError, match="the body's own"):
        await ActivityEnvironment().run(fail)
    assert asyncio.all_tasks() - before == set()

import asyncio

import pytest
from temporalio.testing import ActivityEnvironment

from activities import heartbeats


def beats() -> list[str]:
    """Tasks of ours that still beat; the loop is shared with other tests, whose tasks come and go."""
    coroutines = (task.get_coro() for task in asyncio.all_tasks())
    names = [getattr(coroutine, "__qualname__", "") for coroutine in coroutines]
    return [name for name in names if heartbeats.beating.__name__ in name]


async def test_waiting_body_is_reported_alive_and_nothing_beats_after_it() -> None:
    beaten = asyncio.Event()
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: beaten.set()

    async def wait() -> list[str]:
        async with heartbeats.beating():
            await beaten.wait()
            assert len(beats()) == 1
        await asyncio.sleep(0)
        return beats()

    assert await environment.run(wait) == []


async def test_failure_of_the_body_ends_the_beat() -> None:
    async def fail() -> None:
        async with heartbeats.beating():
            raise ValueError("the body's own")

    with pytest.raises(ValueError, match="the body's own"):
        await ActivityEnvironment().run(fail)
    assert beats() == []

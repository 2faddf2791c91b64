"""Bytes from one connection to another, counted, and cut when nothing moves."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from sandbox.egress import messages

IDLE_SECONDS: Final = 900.0
"""A build that downloads nothing for a quarter of an hour opens a new connection."""

Count = Callable[[int], None]


class ClientLeft(Exception):
    """The client has closed its side, or sends what nobody asked for, while it is being answered."""


async def both_ways(
    inner: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    outer: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    up: Count,
    down: Count,
    idle_seconds: float = IDLE_SECONDS,
) -> None:
    """Carry until both sides have ended, or nothing has moved either way for `idle_seconds`. A side that ends while
    the other goes on is told on, not cut."""
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(idle_seconds) as idle:

            async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Count) -> None:
                while data := await source.read(messages.CHUNK):
                    count(len(data))
                    sink.write(data)
                    await sink.drain()
                    idle.reschedule(loop.time() + idle_seconds)
                sink.write_eof()

            await _together(carry(inner[0], outer[1], up), carry(outer[0], inner[1], down))


async def until_closed(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Count, idle_seconds: float = IDLE_SECONDS
) -> None:
    """Carry one way until the source ends.

    Raises:
        OSError: one of them is gone; TimeoutError when nothing came for `idle_seconds`.
    """
    while True:
        async with asyncio.timeout(idle_seconds):
            data = await source.read(messages.CHUNK)
            if not data:
                return
            count(len(data))
            sink.write(data)
            await sink.drain()


async def while_present(reader: asyncio.StreamReader, asked: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do `work` for a client, and give it up when the client leaves.

    Args:
        asked: Set when the whole request was read: from then on the client has nothing to say.

    Raises:
        ClientLeft: it closed its side, or sent more.
    """

    async def leaves() -> None:
        await asked.wait()
        await reader.read(1)

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(leaves())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            raise ClientLeft
        await working
    finally:
        await _end(working, leaving)


async def _together(*directions: Coroutine[Any, Any, None]) -> None:
    """All of them to their ends; when one fails, none goes on."""
    tasks = [asyncio.ensure_future(each) for each in directions]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end(*tasks)


async def _end(*tasks: "asyncio.Future[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

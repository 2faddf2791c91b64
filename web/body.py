"""Read a request's body within bounds of size and time."""

import asyncio
from typing import Final

from starlette import requests

LIMIT: Final = 25 * 1024 * 1024
"""Bytes. GitHub caps its payloads at 25 MB and delivers nothing larger."""
SECONDS: Final = 10.0
"""For the whole body: GitHub itself gives up on a delivery after 10 s."""


class TooLarge(Exception):
    """The body is larger than the limit; what came after it was not read."""


class TooSlow(Exception):
    """The body did not arrive in time."""


async def read(request: requests.Request) -> bytes:
    """The whole body, of at most `LIMIT` bytes within `SECONDS`.

    A declared length over the limit is refused before a byte is read; a body without a length (chunked) when the
    limit is passed.

    Raises:
        TooLarge, TooSlow: see there.
        requests.ClientDisconnect: the sender went away before the end.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > LIMIT:
        raise TooLarge
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > LIMIT:
                    raise TooLarge
                parts.append(part)
    except TimeoutError:
        raise TooSlow from None
    return b"".join(parts)

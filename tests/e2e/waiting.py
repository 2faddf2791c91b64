"""Waiting for what nothing announces: what happens in other processes is looked for, within a bound."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, overload

_LOOK_SECONDS: Final = 0.1
_T = TypeVar("_T")


@overload
async def until(
    look: Callable[[], Coroutine[Any, Any, _T | None]], seconds: float, what: Callable[[], str] | str
) -> _T: ...
@overload
async def until(look: Callable[[], _T | None], seconds: float, what: Callable[[], str] | str) -> _T: ...
async def until(look: Callable[[], Any], seconds: float, what: Callable[[], str] | str) -> Any:
    """Look until there is an answer; a test that waits in vain says for what."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(_LOOK_SECONDS)

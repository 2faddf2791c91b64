"""Checks of an installation: a table of them, each independent, each with a next step when it is not ok."""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pydantic import BaseModel, Field
from rich import console, text

from cli import render
from domain import errors
from workers import connection, settings


class Level(enum.StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(BaseModel):
    """`next` is a command or an action; empty when all is well."""

    name: str
    level: Level
    detail: str
    next: str = ""
    unreachable: bool = Field(default=False, exclude=True)
    """It failed because nobody answered: that is an exit code of its own."""


Probe = Callable[[settings.Settings], Awaitable[list[Check]]]

_SECONDS: Final = 20.0
_COLOURS: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def ok(name: str, detail: str) -> Check:
    return Check(name=name, level=Level.OK, detail=detail)


def warn(name: str, detail: str, next_step: str) -> Check:
    return Check(name=name, level=Level.WARN, detail=detail, next=next_step)


def fail(name: str, detail: str, next_step: str, *, unreachable: bool = False) -> Check:
    return Check(name=name, level=Level.FAIL, detail=detail, next=next_step, unreachable=unreachable)


def run() -> list[Check]:
    """Every check, side by side; one that hangs or breaks fails alone."""
    from cli import checkup_host, checkup_services

    try:
        config = settings.load()
    except errors.ConfigurationError as wrong:
        return [fail("settings", str(wrong), "correct the setting, then run fettle doctor again")]
    probes: tuple[tuple[str, Probe], ...] = (*checkup_host.PROBES, *checkup_services.PROBES)

    async def all_of_them() -> list[list[Check]]:
        return await asyncio.gather(*(_guarded(name, probe, config) for name, probe in probes))

    return [check for checks in connection.run(all_of_them()) for check in checks]


async def _guarded(name: str, probe: Probe, config: settings.Settings) -> list[Check]:
    try:
        async with asyncio.timeout(_SECONDS):
            return await probe(config)
    except TimeoutError:
        return [fail(name, f"no answer within {_SECONDS:.0f} s", "see whether the host or the network is overloaded")]
    except Exception as broken:  # a check must never hide the other checks
        return [fail(name, f"{type(broken).__name__}: {broken}", "see the message; fettle --help lists the commands")]


def table(found: Sequence[Check]) -> console.RenderableType:
    rows = [
        (
            text.Text(check.level, style=_COLOURS[check.level]),
            check.name,
            check.detail + (f"\n→ {check.next}" if check.next else ""),
        )
        for check in found
    ]
    worst = sum(check.level is Level.FAIL for check in found), sum(check.level is Level.WARN for check in found)
    verdict = f"{worst[0]} failed, {worst[1]} to look at, {len(found) - sum(worst)} ok"
    return console.Group(render.aligned(rows), text.Text(verdict, style="bold"))

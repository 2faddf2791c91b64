"""A store, a clock that stands still, and somebody who notes which runs were woken."""

import asyncio
import pathlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from domain import events
from store import engine


@dataclass
class Clock:
    """Moves only when told to."""

    now: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, step: timedelta) -> None:
        self.now += step


@dataclass
class Waker:
    """Notes every event once it may pass the gate; fails as often as `failures` says."""

    woken: asyncio.Queue[events.ForgeEvent] = field(default_factory=asyncio.Queue)
    asked: asyncio.Queue[events.ForgeEvent] = field(default_factory=asyncio.Queue)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    in_hand: int = 0
    most_in_hand: int = 0

    async def wake(self, event: events.ForgeEvent) -> None:
        self.asked.put_nowait(event)
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        try:
            await self.gate.wait()
            if self.failures:
                self.failures -= 1
                raise ConnectionError("Temporal does not answer")
            self.woken.put_nowait(event)
        finally:
            self.in_hand -= 1

    async def next(self) -> events.ForgeEvent:
        """The next run that is woken, within ten seconds."""
        async with asyncio.timeout(10):
            return await self.woken.get()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waker() -> Waker:
    """Its gate is open; a test that wants to hold events back clears it."""
    made = Waker()
    made.gate.set()
    return made


@pytest_asyncio.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[engine.Store]:
    opened = await engine.open_store(f"sqlite:///{tmp_path}/fettle.db")
    yield opened
    await opened.aclose()

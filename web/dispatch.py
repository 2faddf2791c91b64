"""From the inbox to the runs: every delivery that is due is parsed and handed over, until it was handled once.

Nothing is lost: a delivery counts as handled only after every one of its events was handed over; anything else leaves
it in the inbox for a later attempt. It may therefore be handed over twice, after a crash or by two processes. That is
harmless: an event only wakes a run, which reads the truth again.
"""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from domain import events
from store import inbox

_PAGE: Final = 50
_FIRST_RETRY_SECONDS: Final = 5.0
_LONGEST_RETRY_SECONDS: Final = 600.0
_PRUNE_INTERVAL: Final = timedelta(hours=1)

RETENTION: Final = timedelta(days=7)
"""How long handled deliveries are known as duplicates. GitHub redelivers what is at most 3 days old."""

Parse = Callable[[str, object], Sequence[events.ForgeEvent]]
"""Event name and decoded payload to what they mean; empty for what nobody acts on."""

_log = structlog.stdlib.get_logger(__name__)


class RunWaker(Protocol):
    """Tells the runs that an event concerns to look at the forge again."""

    async def wake(self, event: events.ForgeEvent) -> None:
        """Return when every run concerned was told; raise anything to be asked again later."""
        ...


class Dispatcher:
    """Hands deliveries over, a bounded number at a time.

    Args:
        inbox: Where deliveries are kept.
        parse: See `Parse`.
        waker: See `RunWaker`.
        clock: The present time, aware.
        concurrency: Deliveries that are handed over at the same time.
        sweep_seconds: How often the inbox is read although nobody notified: for what failed before, and for what
            another process stored and lost.
        handover_seconds: A delivery that takes longer counts as failed.
        drain_seconds: How long a stop waits for the deliveries in hand.
    """

    def __init__(
        self,
        inbox: inbox.Inbox,
        parse: Parse,
        waker: RunWaker,
        clock: Callable[[], datetime],
        *,
        concurrency: int = 8,
        sweep_seconds: float = 30,
        handover_seconds: float = 30,
        drain_seconds: float = 10,
    ) -> None:
        self._inbox = inbox
        self._parse = parse
        self._waker = waker
        self._clock = clock
        self._sweep_seconds = sweep_seconds
        self._handover_seconds = handover_seconds
        self._drain_seconds = drain_seconds
        self._free = asyncio.Semaphore(concurrency)
        self._bell = asyncio.Event()
        self._in_hand: dict[int, asyncio.Task[None]] = {}
        self._put_down_lately: set[int] = set()
        self._loop: asyncio.Task[None] | None = None
        self._stopping = False
        self._prune_at: datetime | None = None

    @property
    def alive(self) -> bool:
        """Whether deliveries are being handed over."""
        return self._loop is not None and not self._loop.done()

    def notify(self) -> None:
        """Say that the inbox holds something new: it is looked at without waiting for the next sweep."""
        self._bell.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hand deliveries over while the block runs; at its end those in hand are finished, within `drain_seconds`."""
        self._stopping = False
        self._loop = asyncio.create_task(self._run(), name="webhook dispatcher")
        try:
            yield
        finally:
            self._stopping = True
            self._bell.set()
            await self._drain(self._loop)

    async def _run(self) -> None:
        while not self._stopping:
            self._bell.clear()  # before the pass: what arrives during it rings for another one
            try:
                await self._pass()
                await self._prune()
            except Exception as failure:  # whatever the store or the clock throws, the next sweep tries again
                _log.error("dispatch.sweep_failed", error=f"{type(failure).__name__}: {failure}")
            try:
                async with asyncio.timeout(self._sweep_seconds):
                    await self._bell.wait()
            except TimeoutError:
                pass

    async def _pass(self) -> None:
        """Start every delivery that is due now and not in hand yet."""
        after, now = 0, self._clock()
        while not self._stopping:
            # A delivery may be finished between the read of the page and the end of the await: it is then on the page
            # as unhandled, and in hand no more. So what is put down from here on is remembered, and passed by.
            self._put_down_lately.clear()
            page = await self._inbox.unhandled(_PAGE, due_at=now, after=after)
            if not page:
                return
            after = page[-1].id
            for delivery in page:
                await self._take_up(delivery)

    async def _take_up(self, delivery: inbox.Delivery) -> None:
        await self._free.acquire()
        if self._stopping or delivery.id in self._in_hand or delivery.id in self._put_down_lately:
            self._free.release()
            return
        task = asyncio.create_task(self._handle(delivery), name=f"webhook delivery {delivery.delivery_id}")
        self._in_hand[delivery.id] = task
        task.add_done_callback(functools.partial(self._put_down, delivery.id))

    def _put_down(self, id: int, _: asyncio.Task[None]) -> None:
        del self._in_hand[id]
        self._put_down_lately.add(id)
        self._free.release()

    async def _handle(self, delivery: inbox.Delivery) -> None:
        try:
            async with asyncio.timeout(self._handover_seconds):
                for event in self._parse(delivery.event, json.loads(delivery.payload)):
                    await self._waker.wake(event.model_copy(update={"delivery_id": delivery.delivery_id}))
            await self._inbox.mark_handled(delivery.id, handled_at=self._clock())
        except Exception as failure:  # whatever it is, the delivery stays and the others go on
            await self._put_off(delivery, failure)

    async def _put_off(self, delivery: inbox.Delivery, failure: Exception) -> None:
        wait = min(_FIRST_RETRY_SECONDS * 2 ** min(delivery.attempts, 30), _LONGEST_RETRY_SECONDS)
        error = f"{type(failure).__name__}: {failure}".removesuffix(": ")
        _log.warning(
            "dispatch.put_off",
            delivery=delivery.delivery_id,
            github_event=delivery.event,
            attempts=delivery.attempts + 1,
            retry_in_seconds=wait,
            error=error,
        )
        try:
            await self._inbox.mark_failed(delivery.id, error=error, due_at=self._clock() + timedelta(seconds=wait))
        except Exception as unwritten:  # it stays due: the next sweep finds it
            _log.error("dispatch.not_recorded", delivery=delivery.delivery_id, error=str(unwritten))

    async def _prune(self) -> None:
        now = self._clock()
        if self._prune_at is None or now >= self._prune_at:
            self._prune_at = now + _PRUNE_INTERVAL
            await self._inbox.prune(handled_before=now - RETENTION)

    async def _drain(self, loop: asyncio.Task[None]) -> None:
        """Wait for the loop and the deliveries in hand; cancel, and wait for, what is left after `drain_seconds`."""
        tasks = {loop, *self._in_hand.values()}
        _, late = await asyncio.wait(tasks, timeout=self._drain_seconds)
        late |= set(self._in_hand.values())  # what the loop began in the meantime
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

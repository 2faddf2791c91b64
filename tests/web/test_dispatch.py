import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from domain import events, refs
from store import engine, inbox
from tests.web.conftest import Clock, Waker
from web import dispatch

API = refs.Repository.parse("acme/api")


def parse(event: str, payload: object) -> Sequence[events.ForgeEvent]:
    """Every number of a payload is an issue that changed."""
    assert isinstance(payload, dict)
    return [events.ForgeEvent(kind=events.Kind(event), repo=API, issue=number) for number in payload["issues"]]


async def receive(store: engine.Store, clock: Clock, delivery_id: str, *issues: Any) -> inbox.Receipt:
    payload = json.dumps({"issues": issues})
    return await store.inbox.receive(
        source="github", delivery_id=delivery_id, event="issue.edited", payload=payload, received_at=clock()
    )


def dispatcher(store: engine.Store, clock: Clock, waker: Waker, **options: Any) -> dispatch.Dispatcher:
    return dispatch.Dispatcher(store.inbox, parse, waker, clock, **{"sweep_seconds": 0.02, **options})


async def test_delivery_left_by_a_crash_is_handed_over_at_the_start(
    store: engine.Store, clock: Clock, waker: Waker
) -> None:
    """Received before the crash, answered with 202, never handled: the forge will not send it again."""
    await receive(store, clock, "d-1", 7)
    async with dispatcher(store, clock, waker, sweep_seconds=60).running():
        woken = await waker.next()
    assert (woken.issue, woken.delivery_id) == (7, "d-1")
    assert await receive(store, clock, "d-1", 7) is inbox.Receipt.HANDLED


async def test_notified_delivery_does_not_wait_for_the_sweep(store: engine.Store, clock: Clock, waker: Waker) -> None:
    dispatching = dispatcher(store, clock, waker, sweep_seconds=3600)
    async with dispatching.running():
        for number in range(1, 4):
            await receive(store, clock, f"d-{number}", number)
            dispatching.notify()
            assert (await waker.next()).issue == number


async def test_delivery_that_nobody_notified_is_found_by_the_sweep(
    store: engine.Store, clock: Clock, waker: Waker
) -> None:
    """Another process stored it, and ended before it could hand it over."""
    async with dispatcher(store, clock, waker).running():
        await receive(store, clock, "d-0", 1)
        await waker.next()
        await receive(store, clock, "d-1", 2)
        assert (await waker.next()).issue == 2


async def test_delivery_counts_as_handled_only_after_all_its_events(
    store: engine.Store, clock: Clock, waker: Waker
) -> None:
    await receive(store, clock, "d-1", 1, 2)
    waker.failures = 1
    async with dispatcher(store, clock, waker).running():
        await asyncio.wait_for(waker.asked.get(), 10)
    assert await receive(store, clock, "d-1", 1, 2) is inbox.Receipt.PENDING
    async with dispatcher(store, clock, waker).running():
        assert [(await waker.next()).issue for _ in range(2)] == [1, 2]
    assert await receive(store, clock, "d-1", 1, 2) is inbox.Receipt.HANDLED


async def test_failed_delivery_waits_longer_each_time_and_is_never_given_up(
    store: engine.Store, clock: Clock, waker: Waker
) -> None:
    await receive(store, clock, "d-1", 1)
    waker.failures = 10
    waits = []
    for _ in range(10):
        async with dispatcher(store, clock, waker).running():
            await asyncio.wait_for(waker.asked.get(), 10)
        [kept] = await store.inbox.unhandled(1, due_at=clock() + timedelta(days=1))
        waits.append((kept.due_at - clock()).total_seconds())
        clock.advance(kept.due_at - clock())
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert (kept.attempts, kept.last_error) == (10, "ConnectionError: Temporal does not answer")
    async with dispatcher(store, clock, waker).running():
        assert (await waker.next()).issue == 1


async def test_failed_delivery_does_not_hold_up_the_others(store: engine.Store, clock: Clock, waker: Waker) -> None:
    waker.failures = 1
    async with dispatcher(store, clock, waker, concurrency=1).running():
        await receive(store, clock, "d-1", 1)
        await receive(store, clock, "d-2", 2)
        assert (await waker.next()).issue == 2
        clock.advance(timedelta(seconds=5))
        assert (await waker.next()).issue == 1


async def test_payload_that_the_parser_refuses_stays_in_the_inbox(
    store: engine.Store, clock: Clock, waker: Waker
) -> None:
    await receive(store, clock, "d-1", "not a number")
    await receive(store, clock, "d-2", 2)
    async with dispatcher(store, clock, waker, concurrency=1).running():
        assert (await waker.next()).issue == 2
    [kept] = await store.inbox.unhandled(10, due_at=clock() + timedelta(hours=1))
    assert kept.delivery_id == "d-1"
    assert kept.last_error.startswith("ValidationError")


async def test_delivery_that_means_nothing_is_handled(store: engine.Store, clock: Clock, waker: Waker) -> None:
    await receive(store, clock, "d-1")
    await receive(store, clock, "d-2", 2)
    async with dispatcher(store, clock, waker, concurrency=1).running():
        await waker.next()
    assert await receive(store, clock, "d-1") is inbox.Receipt.HANDLED
    assert waker.woken.empty()


async def test_only_so_many_deliveries_are_in_hand_at_once(store: engine.Store, clock: Clock, waker: Waker) -> None:
    waker.gate.clear()
    for number in range(1, 121):  # more than one page
        await receive(store, clock, f"d-{number}", number)
    async with dispatcher(store, clock, waker, concurrency=3).running():
        for _ in range(3):
            await asyncio.wait_for(waker.asked.get(), 10)
        waker.gate.set()
        woken = {(await waker.next()).issue for _ in range(120)}
    assert woken == set(range(1, 121))
    assert waker.most_in_hand == 3


async def test_delivery_in_hand_is_not_taken_up_again(store: engine.Store, clock: Clock, waker: Waker) -> None:
    waker.gate.clear()
    dispatching = dispatcher(store, clock, waker)
    async with dispatching.running():
        await receive(store, clock, "d-1", 1)
        await asyncio.wait_for(waker.asked.get(), 10)
        await receive(store, clock, "d-1", 1)  # a redelivery while the first is in hand
        await receive(store, clock, "d-2", 2)
        dispatching.notify()
        assert (await asyncio.wait_for(waker.asked.get(), 10)).issue == 2  # the sweep has passed d-1 by
        waker.gate.set()
        assert {(await waker.next()).issue for _ in range(2)} == {1, 2}
    assert waker.asked.empty()


async def test_waker_that_hangs_is_given_up_and_asked_again(store: engine.Store, clock: Clock, waker: Waker) -> None:
    waker.gate.clear()
    async with dispatcher(store, clock, waker, handover_seconds=0.05).running():
        await receive(store, clock, "d-1", 1)
        await asyncio.wait_for(waker.asked.get(), 10)
    [kept] = await store.inbox.unhandled(1, due_at=clock() + timedelta(hours=1))
    assert (kept.attempts, kept.last_error) == (1, "TimeoutError")


async def test_stop_lets_the_delivery_in_hand_finish(store: engine.Store, clock: Clock, waker: Waker) -> None:
    waker.gate.clear()
    await receive(store, clock, "d-1", 1)
    async with dispatcher(store, clock, waker, drain_seconds=10).running():
        await asyncio.wait_for(waker.asked.get(), 10)
        asyncio.get_running_loop().call_later(0.05, waker.gate.set)
    assert await receive(store, clock, "d-1", 1) is inbox.Receipt.HANDLED


async def test_stop_is_bounded_and_what_was_cut_off_stays(store: engine.Store, clock: Clock, waker: Waker) -> None:
    waker.gate.clear()
    for number in range(1, 4):
        await receive(store, clock, f"d-{number}", number)
    async with asyncio.timeout(5):
        async with dispatcher(store, clock, waker, concurrency=2, drain_seconds=0.05).running():
            await asyncio.wait_for(waker.asked.get(), 10)
    assert waker.in_hand == 0
    assert len(await store.inbox.unhandled(10, due_at=clock())) == 3


async def test_store_outage_stops_nothing_for_good(store: engine.Store, clock: Clock, waker: Waker) -> None:
    async def rename(old: str, new: str) -> None:
        async with store.database.writing() as connection:
            await connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))

    failed = asyncio.Event()

    class Watched(inbox.Inbox):
        async def unhandled(self, limit: int, **options: Any) -> Sequence[inbox.Delivery]:
            try:
                return await super().unhandled(limit, **options)
            except Exception:
                failed.set()
                raise

    await receive(store, clock, "d-1", 1)
    await rename("deliveries", "away")
    dispatching = dispatch.Dispatcher(Watched(store.database), parse, waker, clock, sweep_seconds=0.02)
    async with dispatching.running():
        await asyncio.wait_for(failed.wait(), 10)
        assert dispatching.alive
        await rename("away", "deliveries")
        assert (await waker.next()).issue == 1
    assert not dispatching.alive


async def test_handled_deliveries_are_forgotten_after_the_retention(
    store: engine.Store, clock: Clock, waker: Waker
) -> None:
    await receive(store, clock, "d-1", 1)
    async with dispatcher(store, clock, waker).running():
        await waker.next()
    clock.advance(dispatch.RETENTION)
    async with dispatcher(store, clock, waker).running():
        await receive(store, clock, "d-2", 2)
        await waker.next()
    assert await receive(store, clock, "d-1", 1) is inbox.Receipt.HANDLED
    clock.advance(timedelta(seconds=1))
    async with dispatcher(store, clock, waker).running():
        await receive(store, clock, "d-3", 3)
        await waker.next()
    assert await receive(store, clock, "d-1", 1) is inbox.Receipt.NEW


@pytest.mark.parametrize("started", [False, True])
async def test_dispatcher_is_alive_only_while_it_runs(
    store: engine.Store, clock: Clock, waker: Waker, started: bool
) -> None:
    dispatching = dispatcher(store, clock, waker)
    if started:
        async with dispatching.running():
            assert dispatching.alive
    assert not dispatching.alive

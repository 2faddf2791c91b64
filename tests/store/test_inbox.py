import asyncio
import collections
import json
import signal
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from store import engine, inbox
from tests.store.conftest import NOW

LATER = NOW + timedelta(hours=1)
ROOT = Path(__file__).parents[2]


async def receive(store: engine.Store, delivery_id: str = "d-1", at: datetime = NOW) -> inbox.Receipt:
    return await store.inbox.receive(
        source="github", delivery_id=delivery_id, event="issues", payload='{"action": "labeled"}', received_at=at
    )


async def test_new_delivery_is_kept_as_it_came(store: engine.Store) -> None:
    payload = json.dumps({"title": "naïve 🦜 \\u0000", "n": 1})
    await store.inbox.receive(source="github", delivery_id="d", event="issues", payload=payload, received_at=NOW)
    [kept] = await store.inbox.unhandled(10, due_at=NOW)
    assert (kept.delivery_id, kept.event, kept.payload, kept.received_at) == ("d", "issues", payload, NOW)
    assert kept.attempts == 0


async def test_of_twenty_concurrent_inserts_exactly_one_is_new(store: engine.Store) -> None:
    receipts = collections.Counter(await asyncio.gather(*(receive(store) for _ in range(20))))
    assert receipts == {inbox.Receipt.NEW: 1, inbox.Receipt.PENDING: 19}
    assert len(await store.inbox.unhandled(100, due_at=NOW)) == 1


async def test_the_same_id_from_another_source_is_another_delivery(store: engine.Store) -> None:
    await receive(store)
    other = await store.inbox.receive(source="sentry", delivery_id="d-1", event="e", payload="{}", received_at=NOW)
    assert other is inbox.Receipt.NEW


async def test_redelivery_of_a_handled_delivery_is_dropped(store: engine.Store) -> None:
    await receive(store)
    [kept] = await store.inbox.unhandled(10, due_at=NOW)
    await store.inbox.mark_handled(kept.id, handled_at=NOW)
    assert await receive(store, at=LATER) is inbox.Receipt.HANDLED
    assert await store.inbox.unhandled(10, due_at=LATER) == []


async def test_redelivery_of_a_failed_delivery_makes_it_due_at_once(store: engine.Store) -> None:
    await receive(store)
    [kept] = await store.inbox.unhandled(10, due_at=NOW)
    await store.inbox.mark_failed(kept.id, error="no answer\0\ud800", due_at=LATER)
    assert await store.inbox.unhandled(10, due_at=NOW) == []
    assert await receive(store, at=NOW) is inbox.Receipt.PENDING
    [again] = await store.inbox.unhandled(10, due_at=NOW)
    assert (again.attempts, again.last_error) == (1, "no answer?")


async def test_failed_delivery_returns_when_its_time_comes(store: engine.Store) -> None:
    await receive(store)
    [kept] = await store.inbox.unhandled(10, due_at=NOW)
    await store.inbox.mark_failed(kept.id, error="no answer", due_at=LATER)
    assert await store.inbox.unhandled(10, due_at=LATER - timedelta(seconds=1)) == []
    assert [again.id for again in await store.inbox.unhandled(10, due_at=LATER)] == [kept.id]


async def test_a_late_failure_does_not_reopen_a_handled_delivery(store: engine.Store) -> None:
    """Two processes may work on one delivery; the slower one's failure must not undo the other's success."""
    await receive(store)
    [kept] = await store.inbox.unhandled(10, due_at=NOW)
    await store.inbox.mark_handled(kept.id, handled_at=NOW)
    await store.inbox.mark_failed(kept.id, error="late", due_at=NOW)
    assert await receive(store) is inbox.Receipt.HANDLED


async def test_unhandled_pages_in_the_order_of_arrival(store: engine.Store) -> None:
    for number in range(5):
        await receive(store, f"d-{number}")
    first = await store.inbox.unhandled(2, due_at=NOW)
    rest = await store.inbox.unhandled(10, due_at=NOW, after=first[-1].id)
    assert [each.delivery_id for each in [*first, *rest]] == ["d-0", "d-1", "d-2", "d-3", "d-4"]


async def test_pruning_forgets_only_what_was_handled_long_ago(store: engine.Store) -> None:
    for name in ("old", "fresh", "open"):
        await receive(store, name)
    keys = {each.delivery_id: each.id for each in await store.inbox.unhandled(10, due_at=NOW)}
    await store.inbox.mark_handled(keys["old"], handled_at=NOW)
    await store.inbox.mark_handled(keys["fresh"], handled_at=LATER)
    assert await store.inbox.prune(handled_before=LATER) == 1
    assert await receive(store, "fresh") is inbox.Receipt.HANDLED
    assert await receive(store, "open") is inbox.Receipt.PENDING
    assert await receive(store, "old") is inbox.Receipt.NEW


async def test_times_come_back_in_utc_whatever_zone_they_were_given_in(store: engine.Store) -> None:
    await receive(store, at=NOW.astimezone(timezone(timedelta(hours=5, minutes=30))))
    [kept] = await store.inbox.unhandled(10, due_at=NOW)
    assert kept.received_at == NOW
    assert kept.received_at.tzinfo is UTC


async def test_time_without_a_zone_is_refused(store: engine.Store) -> None:
    with pytest.raises(Exception, match="has no time zone"):
        await receive(store, at=NOW.replace(tzinfo=None))


RECEIVE_AND_DIE = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from store import engine

async def main():
    store = await engine.open_store(sys.argv[1])
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    await store.inbox.receive(source="github", delivery_id="d-1", event="issues", payload="{}", received_at=at)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_delivery_received_before_a_kill_is_unhandled_after_it(url: str) -> None:
    """The answer 202 is a promise: the forge will not send this delivery again by itself."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", RECEIVE_AND_DIE, url, cwd=ROOT)
    assert await process.wait() == -signal.SIGKILL
    store = await engine.open_store(url)
    try:
        assert [each.delivery_id for each in await store.inbox.unhandled(10, due_at=NOW)] == ["d-1"]
        assert await receive(store) is inbox.Receipt.PENDING
    finally:
        await store.aclose()

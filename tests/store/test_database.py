import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from domain import errors
from store import database, engine
from tests.store.conftest import NOW, Cluster


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////var/lib/fettle/f.db", "sqlite+aiosqlite"),
        ("postgres://u@h/d", "postgresql+asyncpg"),
        ("postgresql://u:p@h/d", "postgresql+asyncpg"),
        ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg"),
    ],
)
def test_url_gets_the_asynchronous_driver(url: str, driver: str) -> None:
    assert database.parse(url).drivername == driver


@pytest.mark.parametrize("url", ["", "hunter2secret", "mysql://u:hunter2secret@h/d", "sqlite://", "sqlite:///:memory:"])
def test_url_that_cannot_be_a_store_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"store_url .*give sqlite:.*postgresql:") as refused:
        database.parse(url)
    assert "hunter2secret" not in str(refused.value)


def test_sslmode_of_a_copied_url_becomes_what_the_driver_calls_it() -> None:
    assert database.parse("postgresql://u@h/d?sslmode=require").query == {"ssl": "require"}


async def test_foreign_keys_are_enforced_on_sqlite(tmp_path: Path) -> None:
    opened = database.connect(f"sqlite:///{tmp_path}/f.db")
    async with opened.reading() as connection:
        assert await connection.scalar(sa.text("PRAGMA foreign_keys")) == 1
        assert await connection.scalar(sa.text("PRAGMA busy_timeout")) == 5000
    await opened.aclose()


async def test_exception_in_a_transaction_takes_its_writes_back(store: engine.Store) -> None:
    async def fail() -> None:
        async with store.database.writing() as connection:
            await connection.execute(sa.text("DELETE FROM deliveries"))
            raise RuntimeError("in the middle")

    await store.inbox.receive(source="g", delivery_id="1", event="e", payload="{}", received_at=NOW)
    with pytest.raises(RuntimeError, match="in the middle"):
        await fail()
    assert len(await store.inbox.unhandled(10, due_at=NOW)) == 1


async def test_writers_wait_for_each_other(store: engine.Store) -> None:
    """Without a write lock from the start, SQLite refuses a transaction that read before another one wrote."""
    async with store.database.writing() as connection:
        await connection.execute(sa.text("CREATE TABLE counter (n INTEGER)"))
        await connection.execute(sa.text("INSERT INTO counter VALUES (0)"))
    lock = " FOR UPDATE" if store.database.engine.dialect.name == "postgresql" else ""

    async def count() -> None:
        async with store.database.writing() as connection:
            seen = await connection.scalar(sa.text(f"SELECT n FROM counter{lock}"))
            await connection.execute(sa.text("UPDATE counter SET n = :n"), {"n": seen + 1})

    await asyncio.gather(*(count() for _ in range(10)))
    async with store.database.reading() as connection:
        assert await connection.scalar(sa.text("SELECT n FROM counter")) == 10


async def test_locked_sqlite_file_is_unavailable_and_works_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_WAIT_SECONDS", 0.1)
    store = await engine.open_store(f"sqlite:///{tmp_path}/f.db")
    other = sqlite3.connect(tmp_path / "f.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(database.StoreUnavailable, match=r"database is locked.*then try again"):
        await store.inbox.receive(source="g", delivery_id="1", event="e", payload="{}", received_at=NOW)
    assert await store.inbox.unhandled(1, due_at=NOW) == []  # a reader does not wait for the writer
    other.close()
    await store.inbox.receive(source="g", delivery_id="1", event="e", payload="{}", received_at=NOW)
    await store.aclose()


async def test_stopped_postgresql_is_unavailable_and_works_again_later(new_cluster: Callable[[], Cluster]) -> None:
    cluster = new_cluster()
    store = await engine.open_store(await cluster.new_database())
    await store.inbox.receive(source="g", delivery_id="1", event="e", payload="{}", received_at=NOW)
    cluster.stop()
    for _ in range(2):  # a broken connection first, a refused one then
        with pytest.raises(database.StoreUnavailable, match="then try again"):
            await store.inbox.check()
    with pytest.raises(database.StoreUnavailable):
        await engine.open_store(cluster.url("postgres"))
    cluster.start()
    assert len(await store.inbox.unhandled(10, due_at=NOW)) == 1
    await store.aclose()


async def test_wrong_password_is_not_repeated(cluster: Cluster) -> None:
    opened = database.connect(cluster.url("nowhere").replace("fettle@", "fettle:hunter2secret@"))
    with pytest.raises(database.StoreUnavailable) as refused:
        async with opened.reading():
            pass
    assert "hunter2secret" not in str(refused.value)
    assert 'database "nowhere" does not exist' in str(refused.value)
    await opened.aclose()

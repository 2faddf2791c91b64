import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.runtime import migration

from domain import errors
from store import database, engine, migrate, schema

ROOT = Path(__file__).parents[2]


async def differences(url: str) -> list[object]:
    def compare(connection: sa.Connection) -> list[object]:
        return list(autogenerate.compare_metadata(migration.MigrationContext.configure(connection), schema.metadata))

    opened = database.connect(url)
    try:
        async with opened.reading() as connection:
            return await connection.run_sync(compare)
    finally:
        await opened.aclose()


async def set_revision(url: str, revision: str) -> None:
    opened = database.connect(url)
    async with opened.writing() as connection:
        await connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    await opened.aclose()


async def test_migrations_make_exactly_the_tables_of_the_schema(url: str) -> None:
    await migrate.upgrade(url)
    assert await differences(url) == []


async def test_upgrading_twice_keeps_what_was_stored(url: str) -> None:
    first = await engine.open_store(url)
    async with first.database.writing() as connection:
        await connection.execute(
            sa.insert(schema.repositories).values(
                key="a/b", owner="a", name="b", policy="{}", added_at=sa.func.current_timestamp(), enabled=True
            )
        )
    await first.aclose()
    await migrate.upgrade(url)
    second = await engine.open_store(url)
    assert [str(each.ref) for each in await second.repositories.list()] == ["a/b"]
    await second.aclose()


UPGRADE_ON_GO = """
import asyncio, sys
from store import migrate

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(migrate.upgrade(sys.argv[1]))
"""


async def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    """A deployment starts several pods against one new database."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            UPGRADE_ON_GO,
            url,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [(process.returncode, err) for process, (_, err) in zip(processes, outputs, strict=True)] == [(0, b"")] * 3
    assert await differences(url) == []


async def test_tasks_of_one_process_may_upgrade_at_once(url: str) -> None:
    await asyncio.gather(*(migrate.upgrade(url) for _ in range(4)))
    assert await differences(url) == []


async def test_database_of_a_newer_build_is_used_as_it_is(url: str) -> None:
    """Pinned runs keep an old build alive beside the new one; its restart must not fail on the new schema."""
    await migrate.upgrade(url)
    await set_revision(url, "9999")
    store = await engine.open_store(url)
    assert await store.repositories.list() == []
    await store.aclose()


async def test_database_of_another_project_is_refused(url: str) -> None:
    await migrate.upgrade(url)
    await set_revision(url, "ae1027a6acf")
    with pytest.raises(errors.ConfigurationError, match=r"'ae1027a6acf'.*belongs to Fettle alone"):
        await migrate.upgrade(url)


async def test_a_failed_migration_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: sa.Connection) -> None:
        connection.execute(sa.text("CREATE TABLE half_done (id INTEGER)"))
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrate, "_run", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        await migrate.upgrade(url)
    opened = database.connect(url)
    async with opened.reading() as connection:
        assert await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names()) == []
    await opened.aclose()


async def test_sqlite_file_is_left_in_wal_mode(tmp_path: Path) -> None:
    await migrate.upgrade(f"sqlite:///{tmp_path}/fettle.db")
    with sqlite3.connect(tmp_path / "fettle.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "fettle.db").write_bytes(b"minutes of the last meeting " * 100)
    with pytest.raises(database.StoreUnavailable, match=r"fettle.db cannot be opened as the store"):
        await migrate.upgrade(f"sqlite:///{tmp_path}/fettle.db")

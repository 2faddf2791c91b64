"""Worker processes from the command line: migrate, and who polls."""

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Worker

from domain import refs, wire
from tests.cli.world import World, asay, say
from workers import connection


@activity.defn(name=wire.PREPARE_WORKTREE)
async def prepare_worktree() -> None: ...


def test_migrate_makes_the_store_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        found = say("worker", "migrate", "--json")
        assert found.code == 0, found.err
        assert found.json["migrated"] is True
    with sqlite3.connect(tmp_path / "state" / "fettle.db") as store:
        assert store.execute("SELECT count(*) FROM repositories").fetchone() == (0,)
    store.close()


def test_migrate_takes_another_state_directory(tmp_path: Path) -> None:
    assert say("worker", "migrate", "--state", str(tmp_path / "other")).code == 0
    assert (tmp_path / "other" / "fettle.db").exists()


def test_a_store_that_cannot_be_reached_is_refused_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FETTLE_STORE_URL", "postgresql://user:hunter22@127.0.0.1:1/fettle")
    found = say("worker", "migrate")
    assert found.code == 1
    assert "hunter22" not in found.err


async def test_list_shows_who_polls(runs: World) -> None:
    wanted = {(wire.CONTROL_QUEUE, "workflows"), (wire.CONTROL_QUEUE, "activities")}
    polled: set[tuple[str, str]] = set()
    async with asyncio.timeout(30):
        while not wanted <= polled:  # the worker may have been started just now, and its polls be under way
            polled = {(p["queue"], p["kind"]) for p in (await asay("worker", "list", "--json")).json}
    assert wire.CONTROL_QUEUE in (await asay("worker", "list")).out


async def test_list_finds_host_queues(runs: World, server: str) -> None:
    queue = refs.host_queue("host-7")
    # A host has a runtime of its own; workers of one runtime report together, once a minute.
    runtime = Runtime(telemetry=TelemetryConfig(), worker_heartbeat_interval=timedelta(seconds=1))
    own = await connection.connect("host", address=server, runtime=runtime)
    async with Worker(own, task_queue=queue, activities=[prepare_worktree]), asyncio.timeout(30):
        while queue not in {p["queue"] for p in (await asay("worker", "list", "--json")).json}:  # noqa: ASYNC110 - see below
            await asyncio.sleep(0.2)  # the server does not say when it has heard of a worker

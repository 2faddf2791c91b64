import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from domain import errors, wire
from workers import connection, embedded, ports


@asynccontextmanager
async def server(argv: list[str], port: int) -> AsyncIterator[Client]:
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, stdout=null, stderr=null)
    try:
        await embedded_ready(f"{ports.HOST}:{port}")
        yield await connection.connect("test", address=f"{ports.HOST}:{port}")
    finally:
        process.kill()
        await process.wait()


async def embedded_ready(address: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await connection.connect("test", address=address)
                return
            except connection.Unreachable:
                await asyncio.sleep(0.05)


async def test_server_keeps_its_state_over_kill_minus_nine(tmp_path: Path) -> None:
    chosen = ports.choose({}, None, automatic=True)
    argv = embedded.command(tmp_path / "temporal.db", chosen)
    async with server(argv, chosen.temporal) as client:
        await embedded.wait_until_ready(f"{ports.HOST}:{chosen.temporal}", seconds=20)
        assert await embedded.missing_search_attributes(client) == {}
        await client.start_workflow("Anything", id="kept", task_queue="nobody")
    async with server(argv, chosen.temporal) as client:
        await embedded.wait_until_ready(f"{ports.HOST}:{chosen.temporal}", seconds=20)
        assert (await client.get_workflow_handle("kept").describe()).id == "kept"


async def test_search_attributes_are_registered_on_an_existing_cluster_once(tmp_path: Path) -> None:
    chosen = ports.choose({}, None, automatic=True)
    bare = [*embedded.command(tmp_path / "temporal.db", chosen)]
    while "--search-attribute" in bare:
        at = bare.index("--search-attribute")
        del bare[at : at + 2]
    async with server(bare, chosen.temporal) as client:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
        missing = await embedded.missing_search_attributes(client)
        assert set(missing) == {*wire.KEYWORD_ATTRIBUTES, *wire.BOOL_ATTRIBUTES}
        await embedded.ensure_search_attributes(client)
        await embedded.ensure_search_attributes(client)
        assert await embedded.missing_search_attributes(client) == {}


async def test_server_that_never_comes_names_its_log() -> None:
    with socket.socket() as held:
        held.bind((ports.HOST, 0))  # and never listens
        with pytest.raises(connection.Unreachable, match=r"temporal\.log"):
            await embedded.wait_until_ready(f"{ports.HOST}:{held.getsockname()[1]}", seconds=0.2)


def test_binary_named_by_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "temporal"
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    monkeypatch.setenv(embedded.BINARY_VARIABLE, str(named))
    assert embedded.binary() == named


def test_named_binary_that_is_no_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded.BINARY_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(embedded.NotInstalled, match=embedded.BINARY_VARIABLE):
        embedded.binary()


def test_without_any_binary_the_next_step_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(embedded.BINARY_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(embedded.NotInstalled, match="TEMPORAL_ADDRESS") as refused:
        embedded.binary()
    assert refused.value.kind is errors.Kind.HUMAN

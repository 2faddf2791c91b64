"""The real programs inside the default sandbox: each finds its own files and its interpreter there, and its model only
through the socket that it is given."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from activities import rooms
from domain import agent
from integrations.agent import port
from sandbox import bridge, bubblewrap, process
from tests.agents.model_server import say
from tests.agents.slow.stage import SlowStage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed on this machine"),
]


@asynccontextmanager
async def relay(socket: Path, url: str) -> AsyncIterator[None]:
    """A proxy that knows one destination: every connection ends at the scripted model."""
    where = int(url.rsplit(":", 1)[1])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", where)
        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    server = await asyncio.start_unix_server(serve, socket)
    socket.chmod(0o777)
    async with server:
        yield


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()


async def test_a_turn_in_bubblewrap_reaches_its_model_through_the_socket(
    stage: SlowStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", stage.environment["PATH"])  # an agent host has one PATH: its own is its agents'
    stage.model.script(stage.write("a.txt", "made\n"), stage.shell("echo 1 > b.txt"), say("Done."))
    request = stage.request()
    stage.room.prepare()
    stage.backend.prepare(stage.room.home)
    base = f"http://127.0.0.1:{bridge.PORT}" + ("" if stage.cli.program == "gemini" else "/v1")
    command = stage.backend.command(request, stage.room.home, stage.found, port.ModelAccess(base))
    level = bubblewrap.Bubblewrap.on(os.environ["PATH"])
    confinement = rooms.Confinement(stage.environment, level)
    passed = tuple(name for name in stage.backend.pass_environment if name.endswith("_PROXY"))
    socket = tmp_path / "way-out"
    async with relay(socket, stage.model.url):
        spec = confinement.spec(command, stage.room, stage.host.worktree, passed, network=socket)
        done = await process.capture(spec, seconds=50, most=16 * 1024 * 1024)
    ended = stage.ended(request, done.status, done.stdout, done.stderr)
    assert ended.verdict.outcome is agent.Outcome.FINISHED, (ended.stdout[-2000:], ended.stderr[-2000:])
    assert (stage.file("a.txt"), stage.file("b.txt")) == ("made\n", "1\n")
    stage.quiet(3)

"""One Temporal server and one worker for all tests of this folder, a repository name for each test."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain import refs, wire
from tests.cli import stand_ins, world
from tests.devforge import world as forge_world
from workers import connection, embedded, ports

_numbers = itertools.count(1)
_SHOWING = {
    *("FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS"),
    *("TERMINAL_WIDTH", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
}
"""Variables by which a CI service or a user has output coloured, or as wide as they like."""


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Address of a dev server that lives as long as the tests."""
    folder = tmp_path_factory.mktemp("temporal")
    chosen = ports.choose({}, None, automatic=True)
    with (folder / "temporal.log").open("wb") as log:
        command = embedded.command(folder / "temporal.db", chosen)
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        await embedded.wait_until_ready(f"{ports.HOST}:{chosen.temporal}", seconds=40)
        yield f"{ports.HOST}:{chosen.temporal}"
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(scope="session")
async def temporal(server: str) -> Client:
    return await connection.connect("test", address=server)


@pytest.fixture(scope="session")
async def worker(temporal: Client) -> AsyncIterator[Worker]:
    """Polls the control queue with the stand-ins."""
    async with Worker(
        temporal,
        task_queue=wire.CONTROL_QUEUE,
        workflows=stand_ins.WORKFLOWS,
        activities=[stand_ins.poll_checks],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's installation is read, and nobody's terminal decides how the output looks."""
    for name in [name for name in os.environ if name.startswith(("FETTLE_", "TEMPORAL_")) or name in _SHOWING]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None)  # read from the environment when it was imported
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", None)
    monkeypatch.setenv("FETTLE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("FETTLE_OPERATOR", "ann")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def connected(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command line finds the server."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", server)
    return server


@pytest.fixture
def runs(temporal: Client, worker: Worker, connected: str) -> world.World:
    """A place for runs, in a repository that no other test has."""
    return world.World(temporal, refs.Repository(owner="acme", name=f"api{next(_numbers)}"))


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[forge_world.Server]:
    """A forge that lives as long as the tests."""
    running = forge_world.Server(tmp_path_factory.mktemp("forge")).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
async def repo(
    forge: forge_world.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: world.World
) -> AsyncIterator[str]:
    """A repository with one commit that the account `fettle` may push to, and settings that lead to it."""
    name = f"demo{next(_numbers)}"
    admin = forge.client(forge_world.ADMIN)
    tokens = {login: f"ghp_token-of-{login}" for login in ("ada", "fettle", "guest")}
    for login, token in tokens.items():  # 201 made, 200 was there
        (await admin.http.post("/_devforge/users", json={"login": login, "token": token})).raise_for_status()
    owner = forge.client(tokens["ada"])
    await owner.post("/user/repos", {"name": name})
    await owner.put(f"/repos/ada/{name}/collaborators/fettle", {"permission": "push"}, 204)
    work = await forge_world.Work(tmp_path / name, f"{forge.url}/ada/{name}.git", tokens["fettle"]).clone()
    await work.commit({"app.py": "one = 1\n"}, "start")
    await work.git("push", "--quiet", "origin", "HEAD:refs/heads/main")
    for login, token in tokens.items():
        (tmp_path / f"token-{login}").write_text(token)
    monkeypatch.setenv("FETTLE_FORGE__API_URL", forge.url)
    monkeypatch.setenv("FETTLE_FORGE__TOKEN_FILE", str(tmp_path / "token-fettle"))
    yield f"ada/{name}"
    await owner.http.aclose()
    await admin.http.aclose()

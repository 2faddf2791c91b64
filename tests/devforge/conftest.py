"""One forge for all tests of this folder, and a fresh repository for each."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.devforge import world

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.Server]:
    """A forge that lives as long as the tests; tests that stop theirs start their own."""
    running = world.Server(tmp_path_factory.mktemp("forge")).start()
    yield running
    assert running.stop() == 0


async def make(server: world.Server, folder: Path, files: dict[str, str] | None = None) -> world.Repository:
    """A repository of `ada` with `bot` as a writer and one commit on main."""
    name = f"demo{next(_numbers)}"
    admin = server.client(world.ADMIN)
    tokens = {}
    for login in ("ada", "bot"):
        response = await admin.http.post("/_devforge/users", json={"login": login, "token": f"token-of-{login}"})
        assert response.status_code in (200, 201), response.text
        tokens[login] = response.json()["token"]
    owner, bot = server.client(tokens["ada"]), server.client(tokens["bot"])
    await owner.post("/user/repos", {"name": name})
    await owner.put(f"/repos/ada/{name}/collaborators/bot", {"permission": "push"}, 204)
    work = await world.Work(folder / name, f"{server.url}/ada/{name}.git", tokens["bot"]).clone()
    repository = world.Repository(name, server, owner, bot, admin, work, tokens)
    await work.commit({"app.py": "one = 1\ntwo = 2\n", **(files or {})}, "start")
    await work.git("push", "--quiet", "origin", "HEAD:refs/heads/main")
    return repository


async def close(repository: world.Repository) -> None:
    """Close the connections of a repository's callers."""
    for client in (repository.owner, repository.bot, repository.admin):
        await client.http.aclose()


@pytest.fixture
async def repository(server: world.Server, tmp_path: Path) -> AsyncIterator[world.Repository]:
    """A fresh repository without CI."""
    made = await make(server, tmp_path)
    yield made
    await made.admin.delete("/_devforge/faults")
    await close(made)


@pytest.fixture
async def repository_with(
    server: world.Server, tmp_path: Path
) -> AsyncIterator[Callable[[dict[str, str]], Awaitable[world.Repository]]]:
    """Make a repository whose first commit has the given files."""
    made = []

    async def build(files: dict[str, str]) -> world.Repository:
        made.append(await make(server, tmp_path, files))
        return made[-1]

    yield build
    for one in made:
        await close(one)


@pytest.fixture
async def listener() -> AsyncIterator[world.Listener]:
    """A listener for webhooks."""
    started = await world.Listener().start()
    yield started
    await started.stop()

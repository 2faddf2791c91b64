"""The server is killed and started again: nothing that was promised is lost, nothing happens twice."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.devforge import conftest, world


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[world.Server]:
    """A forge of one test, which may kill it."""
    server = world.Server(tmp_path / "state").start()
    yield server
    assert server.stop() == 0


@pytest.fixture
async def own(mortal: world.Server, tmp_path: Path) -> AsyncIterator[world.Repository]:
    """A repository of the mortal forge."""
    repository = await conftest.make(mortal, tmp_path)
    yield repository
    await conftest.close(repository)


def _restart(server: world.Server) -> None:
    """Kill without warning, then start on the same port."""
    port = server.port
    server.stop(signal.SIGKILL)
    server.start(port)


async def test_a_pending_ci_run_is_finished_after_a_kill(own: world.Repository, tmp_path: Path) -> None:
    """The first run waits for a file that only appears after the restart; it must run again and report."""
    gate, count = tmp_path / "gate", tmp_path / "count"
    command = f"echo run >> {count}; while [ ! -e {gate} ]; do sleep 0.05; done; echo finished"
    sha = await own.work.branch("change", {world.CI_FILE: world.ci_file(command, seconds=30)})
    number = (await own.pull("change"))["number"]

    async def started() -> bool | None:
        return True if count.exists() and count.read_text() else None

    await world.eventually(started, "the first run")
    _restart(own.server)
    gate.touch()
    run = await own.concluded(sha)
    assert (run["conclusion"], "finished" in run["output"]["text"]) == ("success", True)
    assert count.read_text().count("run") == 2
    found = await own.bot.get(f"{own.path}/commits/{sha}/check-runs?filter=all")
    assert found["total_count"] == 1
    assert (await own.bot.get(f"{own.path}/pulls/{number}"))["mergeable_state"] == "clean"


async def test_a_killed_servers_run_does_not_live_on(own: world.Repository, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = f"echo $$ >> {pids}; sleep 300"
    await own.work.branch("change", {world.CI_FILE: world.ci_file(command, seconds=300)})
    await own.pull("change")

    async def runs(count: int) -> list[int] | None:
        found = [int(line) for line in pids.read_text().split()] if pids.exists() else []
        return found if len(found) >= count else None

    (first,) = await world.eventually(lambda: runs(1), "the first run")
    _restart(own.server)
    await world.eventually(lambda: runs(2), "the second run")

    async def ended() -> bool | None:
        return None if world.lives(first) else True

    await world.eventually(ended, "the end of the first run", 10)  # of itself it would end after 300 s


async def test_pending_deliveries_are_sent_after_a_kill(own: world.Repository, listener: world.Listener) -> None:
    hook = await own.listen(listener, "issues")
    await listener.has("ping")

    async def logged() -> bool | None:
        entries = await own.owner.get(f"{own.path}/hooks/{hook['id']}/deliveries")
        return True if [entry["status"] for entry in entries] == ["OK"] else None

    await world.eventually(logged, "the ping in the log")  # else it would be sent again after the kill
    await own.admin.post("/_devforge/faults", {"kind": "webhook_delay", "seconds": 1})
    await own.owner.post(f"{own.path}/issues", {"title": "kept"})
    _restart(own.server)
    got = await listener.has("issues.opened")
    assert [item.kind for item in got] == ["ping", "issues.opened"]
    assert (await own.owner.get(f"{own.path}/issues"))[0]["title"] == "kept"


async def test_a_ref_that_moved_unseen_is_noticed_at_the_next_start(
    own: world.Repository, listener: world.Listener
) -> None:
    """A kill between moving a ref and storing what follows: the restarted server finishes the rest."""
    await own.listen(listener, "pull_request")
    sha = await own.work.branch("change", {"new.py": ""})
    number = (await own.pull("change"))["number"]
    await listener.has("pull_request.opened")
    port = own.server.port
    own.server.stop(signal.SIGKILL)
    (bare,) = (own.server.state / "repositories").iterdir()
    process = await asyncio.create_subprocess_exec("git", f"--git-dir={bare}", "update-ref", "refs/heads/main", sha)
    assert await process.wait() == 0
    own.server.start(port)
    found = await own.bot.get(f"{own.path}/pulls/{number}")
    assert (found["state"], found["merged"]) == ("closed", True)
    await listener.has("pull_request.closed")


async def test_a_second_server_on_the_port_says_so_and_ends_with_3(mortal: world.Server, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "devforge", "--state", str(tmp_path / "other"), "--port", str(mortal.port))
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, cwd=world.ROOT)
    _, said = await process.communicate()
    assert process.returncode == 3
    assert said.decode() == (
        f"Port {mortal.port} on 127.0.0.1 is in use by another process: stop it, or choose another with --port.\n"
    )


async def test_a_made_up_admin_token_is_kept_in_the_state(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DEVFORGE_ADMIN_TOKEN"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devforge", "--state", str(tmp_path / "s"), "--port", "0"),
        stdout=subprocess.PIPE,
        env=environment,
        cwd=world.ROOT,
    )
    assert process.stdout is not None
    url = httpx.Response(200, content=await process.stdout.readline()).json()["url"]
    kept = tmp_path / "s" / "admin-token"
    assert kept.stat().st_mode & 0o777 == 0o600
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        answer = await http.get("/_devforge/faults", headers={"Authorization": f"Bearer {kept.read_text()}"})
    assert answer.json() == []
    process.terminate()
    assert await process.wait() == 0
    process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves closing the pipe to the collector


async def test_a_second_server_on_the_state_says_so_and_ends(mortal: world.Server) -> None:
    command = (sys.executable, "-m", "devforge", "--state", str(mortal.state), "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, cwd=world.ROOT)
    _, said = await process.communicate()
    assert (process.returncode, "Another devforge process works on" in said.decode()) == (1, True)

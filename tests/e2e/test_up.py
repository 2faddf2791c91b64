import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sandbox import proc
from tests.e2e import command
from workers import connection, embedded, ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

PARTS = {"temporal", "devforge", "control", "agents", "web"}


def ports_kept(before: str, after: str) -> bool:
    """The same address, unless another program has taken its port meanwhile."""
    return after == before or not ports.is_free(int(before.rpartition(":")[2]))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., command.Up]]:
    started: list[command.Up] = []

    def up(*options: str, **more: str) -> command.Up:
        started.append(command.Up(tmp_path / "state", *options, **more))
        return started[-1]

    yield up
    for each in reversed(started):
        each.end()


def test_everything_starts_answers_and_stops(start: Callable[..., command.Up], tmp_path: Path) -> None:
    up = start()
    said = up.ready()
    assert set(said["processes"]) == PARTS
    assert said["ready"] is True
    assert json.loads((up.state / "up.json").read_text()) == said
    for secret in (up.state / "secrets").iterdir():
        assert secret.stat().st_mode & 0o777 == 0o600
        assert secret.read_text() not in (up.state / "up.json").read_text()
    listed = command.fettle("fleet", "--once", "--json", FETTLE_STATE_DIR=str(up.state))
    assert listed.returncode == 0, listed.stderr
    started = up.identities()
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(50) == 0
    assert not any(map(proc.is_alive, started.values()))
    assert command.mentioning(str(tmp_path)) == []
    stopped = command.fettle("fleet", "--once", FETTLE_STATE_DIR=str(up.state))
    assert stopped.returncode == 3
    assert "fettle up" in stopped.stderr


@pytest.mark.slow
def test_each_killed_process_is_restarted_and_recorded(start: Callable[..., command.Up]) -> None:
    """Nobody on a laptop restarts five processes by hand."""
    up = start()
    up.ready()
    for name in sorted(PARTS):
        before = up.identities()[name]
        os.kill(before.pid, signal.SIGKILL)
        assert command.within(30, lambda name=name, before=before: _is_ready_again(up.state, name, before)), name
        assert proc.is_alive(up.identities()[name])
    assert set(up.identities()) == PARTS
    listed = command.fettle("fleet", "--once", "--json", FETTLE_STATE_DIR=str(up.state))
    assert listed.returncode == 0, listed.stderr


@pytest.mark.slow
def test_killed_supervisor_leaves_nothing_and_the_same_command_continues(start: Callable[..., command.Up]) -> None:
    up = start()
    before = up.ready()
    started = up.identities()
    paused = command.fettle("pause", "--note", "kept", FETTLE_STATE_DIR=str(up.state))
    assert paused.returncode == 0, paused.stderr
    up.process.kill()
    assert command.within(5, lambda: not any(map(proc.is_alive, started.values())))
    after = start().ready()
    addresses = ("temporal_address", "temporal_ui", "web_url", "forge_url")
    assert [name for name in addresses if not ports_kept(before[name], after[name])] == []
    again = command.fettle("pause", FETTLE_STATE_DIR=str(up.state))
    assert again.returncode == 1
    assert "already" in again.stderr


@pytest.mark.slow
def test_second_instance_is_refused_in_words(start: Callable[..., command.Up]) -> None:
    up = start()
    up.ready()
    second = command.fettle("up", "--state", str(up.state), "--ports", "auto")
    assert second.returncode == 3
    assert f"process {up.process.pid}" in second.stderr
    assert second.stderr.count("\n") == 1
    assert up.process.poll() is None
    assert set(up.identities()) == PARTS


@pytest.mark.parametrize("flag", ["--temporal-port", "--ui-port", "--web-port", "--forge-port"])
def test_port_in_use_is_refused_with_its_flag(tmp_path: Path, flag: str) -> None:
    with socket.create_server((ports.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        refused = command.fettle("up", "--state", str(tmp_path), "--ports", "auto", flag, str(port))
    assert refused.returncode == 3
    assert f"port {port}" in refused.stderr
    assert flag in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_port_in_use_is_refused_with_the_flag_of_the_forge_alone(tmp_path: Path) -> None:
    with socket.create_server((ports.HOST, 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = command.fettle("devforge", "--state", str(tmp_path), "--port", port)
    assert refused.returncode == 3
    assert port in refused.stderr
    assert "with --port\n" in refused.stderr
    assert "--ports" not in refused.stderr


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
@pytest.mark.parametrize("arguments", [("up", "--web-port"), ("devforge", "--port")], ids=" ".join)
def test_what_is_no_port_is_a_usage_error(tmp_path: Path, arguments: tuple[str, ...], port: str) -> None:
    refused = command.fettle(*arguments, port, "--state", str(tmp_path))
    assert refused.returncode == 2
    assert arguments[1] in refused.stderr
    assert not list(tmp_path.iterdir())


def test_unreachable_cluster_is_refused_and_no_server_is_started(tmp_path: Path) -> None:
    refused = command.fettle("up", "--state", str(tmp_path), "--ports", "auto", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert refused.returncode == 3
    assert "127.0.0.1:1" in refused.stderr
    assert "TEMPORAL_ADDRESS" in refused.stderr
    assert not (tmp_path / "temporal.db").exists()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[str]:
    """A Temporal server that is nobody's child and knows nothing of Fettle."""
    chosen = ports.choose({}, None, automatic=True)
    argv = [str(embedded.binary()), "server", "start-dev", "--headless", "--log-level", "never"]
    argv += ["--ip", ports.HOST, "--port", str(chosen.temporal), "--db-filename", str(tmp_path / "cluster.db")]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)
    address = f"{ports.HOST}:{chosen.temporal}"
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    await connection.connect("test", address=address)
                    break
                except connection.Unreachable:
                    await asyncio.sleep(0.05)
        yield address
    finally:
        process.kill()
        await process.wait()


async def test_configured_cluster_is_used_and_given_our_search_attributes(
    start: Callable[..., command.Up], cluster: str
) -> None:
    up = start(TEMPORAL_ADDRESS=cluster)
    said = up.ready()
    assert set(said["processes"]) == PARTS - {"temporal"}
    assert said["temporal_address"] == cluster
    assert await embedded.missing_search_attributes(await connection.connect("test", address=cluster)) == {}


def test_forge_alone_answers_and_keeps_its_port(tmp_path: Path) -> None:
    port = ports.choose({}, None, automatic=True).forge
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "devforge", "--state", str(tmp_path), "--port", str(port), "--json"],
        env=command.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        assert said["url"] == f"http://{ports.HOST}:{port}"
        token = Path(said["admin_token_file"]).read_text().strip()
        answer = httpx.get(f"{said['url']}/user", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        assert answer.status_code == 200
        held = command.fettle("up", "--state", str(tmp_path), "--ports", "auto")
        assert held.returncode == 3
        assert "fettle devforge" in held.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
    assert command.mentioning(str(tmp_path)) == []


def _is_ready_again(state: Path, name: str, before: proc.Identity) -> bool:
    up = connection.read_up(state) or {}
    return up.get("states", {}).get(name) == "ready" and command.identities(state).get(name) not in {None, before}

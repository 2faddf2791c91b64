import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domain import errors
from workers import connection, state_directory


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", os.devnull)


async def test_nobody_listening_is_one_sentence_with_address_and_next_step() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(connection.Unreachable) as refused:
            await connection.connect("test", address=address)
    assert refused.value.address == address
    assert refused.value.exit_code == 3
    assert address in str(refused.value)
    assert "connection refused" in str(refused.value)
    assert "fettle up" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_server_that_accepts_and_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with pytest.raises(connection.Unreachable):
            await connection.connect("test", address=f"127.0.0.1:{mute.getsockname()[1]}", seconds=0.5)
    assert time.monotonic() - began < 5


async def test_standard_configuration_goes_before_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_directory.write_json(tmp_path / connection.UP_FILE, {"pid": 1, "temporal_address": "127.0.0.1:2"})
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    with pytest.raises(connection.Unreachable, match=r"127\.0\.0\.1:1 .*TEMPORAL_ADDRESS"):
        await connection.connect("test", state=tmp_path)


async def test_profile_of_the_configuration_file_counts_as_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.default]\naddress = "127.0.0.1:3"\nnamespace = "prod"\n')
    assert not connection.is_cluster_configured()
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(file))
    assert connection.is_cluster_configured()
    with pytest.raises(connection.Unreachable, match=r"127\.0\.0\.1:3"):
        await connection.connect("test")


async def test_unknown_profile_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_PROFILE", "nowhere")
    with pytest.raises(errors.ConfigurationError, match="TEMPORAL_PROFILE"):
        await connection.connect("test")


async def test_stopped_installation_is_told_from_an_unreachable_one(tmp_path: Path) -> None:
    state_directory.write_json(tmp_path / connection.UP_FILE, {"pid": None, "temporal_address": "127.0.0.1:2"})
    with pytest.raises(connection.Unreachable, match=r"was stopped: start it with `fettle up`"):
        await connection.connect("test", state=tmp_path)


def test_environment_for_an_embedded_server_holds_nothing_of_the_users_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPORAL_API_KEY", "of another server")
    monkeypatch.setenv("TEMPORAL_TLS", "true")
    monkeypatch.setenv("SOMETHING", "else")
    environment = connection.embedded_environment("127.0.0.1:9")
    assert {k: v for k, v in environment.items() if k.startswith("TEMPORAL_")} == {
        "TEMPORAL_ADDRESS": "127.0.0.1:9",
        "TEMPORAL_NAMESPACE": "default",
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }
    assert environment["SOMETHING"] == "else"


def test_result_of_the_work_is_returned() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert connection.run(work()) == 7


def test_interrupted_command_ends_with_130() -> None:
    code = (
        "import asyncio, os, signal\nfrom workers import connection\n"
        "async def work():\n    os.kill(os.getpid(), signal.SIGINT)\n    await asyncio.sleep(30)\n"
        "connection.run(work())\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 130


@pytest.mark.slow
def test_client_of_a_command_never_writes_to_stdout_when_its_server_goes_away(tmp_path: Path) -> None:
    """`--json` promises one object and nothing else, whatever happens to the server meanwhile."""
    code = (
        "import asyncio, sys\n"
        "from datetime import timedelta\n"
        "from pathlib import Path\n"
        "from workers import connection, embedded, ports\n"
        "async def work():\n"
        "    chosen = ports.choose({}, None, automatic=True)\n"
        "    argv = embedded.command(Path(sys.argv[1]) / 'temporal.db', chosen)\n"
        "    null = asyncio.subprocess.DEVNULL\n"
        "    server = await asyncio.create_subprocess_exec(*argv, stdout=null, stderr=null)\n"
        "    address = f'127.0.0.1:{chosen.temporal}'\n"
        "    await embedded.wait_until_ready(address)\n"
        "    client = await connection.connect('cli', address=address)\n"
        "    server.kill()\n    await server.wait()\n"
        "    try:\n        await client.get_workflow_handle('none').describe(rpc_timeout=timedelta(seconds=2))\n"
        "    except Exception as gone:\n        print('failed', type(gone).__name__)\n"
        "connection.run(work())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=55)
    assert done.stdout == "failed RPCError\n", done.stderr


def test_a_configuration_file_that_is_named_and_missing_is_refused_and_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "temporal.toml"
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(missing))
    with pytest.raises(errors.ConfigurationError, match=r"temporal\.toml.*no such file"):
        connection.is_cluster_configured()
    missing.write_text('[profile.default]\naddress = "127.0.0.1:1"\n')
    assert connection.is_cluster_configured()

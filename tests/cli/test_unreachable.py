"""A server that is not there is exit 3 in every command, each time: no thread of the client outlives the process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (["fleet", "--json"], ["status", "acme/api#1"], ["doctor", "--json"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_refused_connection_is_exit_3_every_time(command: list[str], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "FETTLE_STATE_DIR": str(tmp_path / "state"),
            "TEMPORAL_ADDRESS": address,
        }
        for _ in range(5):  # seven of twenty-three died of a signal before the client's end was awaited
            done = subprocess.run(
                [sys.executable, "-m", "cli.main", *command],
                env=environment,
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert done.returncode == 3, (done.returncode, done.stderr)

"""Running the deployment's shell scripts and programs as a container would: a chosen environment, nothing inherited."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "deploy" / "compose"
TEMPORAL = Path(sys.executable).parent / "temporal"


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A TCP port of the loopback that nobody listens on, and that nobody is given while the block runs.

    It stays bound, without listening: a server that sets SO_REUSEADDR, as servers do, can listen on it all the same.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port


def run(script: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with this environment; PATH defaults to the environment's programs and the machine's."""
    path = f"{TEMPORAL.parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", str(script), *arguments],
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=50,
    )


def program(path: Path, body: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path

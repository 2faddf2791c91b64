"""Running the deployment's shell scripts and programs as a container would: a chosen environment, nothing inherited."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "deploy" / "compose"
TEMPORAL = Path(sys.executable).parent / "temporal"


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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

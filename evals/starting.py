"""How long a person waits for `fettle --help`, which is where every command begins."""

import os
import subprocess
import sys
import time
from pathlib import Path

from evals import scoreboard

_GOAL = 0.3


async def measure(count: int) -> list[scoreboard.Row]:
    """Wall time of whole processes, in turns, so that both see the same machine."""
    script = Path(sys.executable).parent / "fettle"
    command = [str(script)] if script.exists() else [sys.executable, "-m", "cli.main"]
    helped, bare = [], []
    _seconds([*command, "--help"])  # the first one reads the files, and may compile them
    for _ in range(count):
        helped.append(_seconds([*command, "--help"]))
        bare.append(_seconds([sys.executable, "-c", "pass"]))
    found, base = scoreboard.spread(helped), scoreboard.spread(bare)
    return [
        scoreboard.Row(
            name="help",
            what=f"`fettle --help`, p50 of {count}",
            value=found["p50"],
            unit="s",
            goal=_GOAL,
            detail={"help_seconds": scoreboard.rounded(found), "python_seconds": scoreboard.rounded(base)},
        ),
        scoreboard.Row(
            name="help-ratio",
            what="of that to a Python that does nothing",
            value=found["p50"] / base["p50"],
            unit="times",
        ),
    ]


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env={**os.environ, "COLUMNS": "100"}, check=True, capture_output=True)
    return time.perf_counter() - began

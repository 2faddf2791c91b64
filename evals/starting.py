"""How long a person waits for `fettle --help`, which is where every command begins."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from evals import scoreboard

_GOAL = 0.3


async def measure(count: int) -> list[scoreboard.Row]:
    """Wall time of whole processes, in turns, so that both see the same machine."""
    script = Path(sys.executable).parent / "fettle"
    command = [str(script)] if script.exists() else [sys.executable, "-m", "cli.main"]
    helped, bare = [], []
    _run([*command, "--help"])  # the first one reads the files, and may compile them
    for _ in range(count):
        helped.append(_run([*command, "--help"]))
        bare.append(_run([sys.executable, "-c", "pass"]))
    found, base = (scoreboard.spread([took.wall for took in each]) for each in (helped, bare))
    cpu = scoreboard.spread([took.cpu for took in helped])
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
            name="help-cpu", what="CPU time of that, p50: its wall time on an idle core", value=cpu["p50"], unit="s"
        ),
        scoreboard.Row(
            name="help-ratio",
            what="of the wall time to a Python that does nothing",
            value=found["p50"] / base["p50"],
            unit="times",
        ),
    ]


class _Took(NamedTuple):
    wall: float
    cpu: float


def _run(command: list[str]) -> _Took:
    """Seconds of one process; raises CalledProcessError when it fails."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env={**os.environ, "COLUMNS": "100"}, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return _Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

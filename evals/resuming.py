"""How long an agent's work stands still when its host process is killed: from SIGKILL to the resumed agent."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from cli import transcript
from domain import refs
from evals import ground, scoreboard
from workers import laptop

_GOAL = 45.0
_LONGEST_SECONDS = 120


async def measure(count: int) -> list[scoreboard.Row]:
    """Kill the agents process `count` times, each time in the middle of a turn."""
    async with ground.prepared({}) as place:
        repo = await place.repository("killed", webhooks=True)
        waits, restarts = [], []
        for number in range(count):
            resumed, restarted = await _once(place, repo, number)
            waits.append(resumed)
            restarts.append(restarted)
            ground.progress(f"killed, and resumed after {resumed:.1f} s")
    found = scoreboard.spread(waits)
    detail = {
        "resumed_seconds": scoreboard.rounded(found),
        "process_back_seconds": scoreboard.rounded(scoreboard.spread(restarts)),
    }
    what = f"from kill -9 of the agents process to the resumed agent, p50 of {count}"
    row = scoreboard.Row(name="resume-after-kill", what=what, value=found["p50"], unit="s", goal=_GOAL, detail=detail)
    return [row]


async def _once(place: ground.Ground, repo: refs.Repository, number: int) -> tuple[float, float]:
    """Seconds from the kill to the resumed agent's first words, and to the new process."""
    gate = place.scripts.parent / f"go-{number}"
    steps: ground.Script = [
        {"say": "half of the work is done"},
        {"wait_for_file": {"path": str(gate), "seconds": _LONGEST_SECONDS}},
        {"write": {"path": f"decisions/kill-{number}.md", "content": "Decided.\n"}},
    ]
    ground.write_script(place.scripts / "default.json", steps)
    filed = await place.file(repo)
    log = laptop.configured(place.made.state).artifacts_dir / transcript.key(filed.issue, 1)
    await ground.until(lambda: _says(log, "text"), "the agent works")
    victim = place.processes["agents"]
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)  # the process of the installation that this measure started
    await ground.until(lambda: place.processes.get("agents") not in {None, victim}, "the agents process is back")
    restarted = time.monotonic() - began
    await ground.until(lambda: _says(log, "session", resumed=True), "the agent is resumed")
    resumed = time.monotonic() - began
    gate.touch()
    await place.ended(filed, _LONGEST_SECONDS)
    return resumed, restarted


def _says(log: Path, kind: str, **facts: object) -> bool:
    """Whether the agent's output has a line of this type with these facts."""
    try:
        lines = log.read_bytes().splitlines()
    except OSError:
        return False
    return any(_is(line, {"type": kind, **facts}) for line in lines)


def _is(line: bytes, facts: Mapping[str, object]) -> bool:
    try:
        found = json.loads(line)
    except ValueError:  # the line that is just being written
        return False
    return all(found.get(name) == value for name, value in facts.items())

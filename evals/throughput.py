"""How many runs a minute one machine carries to a merge while twenty are under way."""

import asyncio
import time

from evals import ground, histories, processes, scoreboard

PARALLEL = 20
REPOSITORIES = 5
_GOAL = 60.0
_LONGEST_SECONDS = 900


async def measure(count: int, parallel: int = PARALLEL) -> list[scoreboard.Row]:
    """File `count` issues in several repositories; as many run at once as the repositories admit."""
    each = max(1, parallel // REPOSITORIES)
    async with ground.prepared({"FETTLE_AGENT_SLOTS": str(parallel)}) as place:
        repos = [
            await place.repository(f"load-{number}", webhooks=True, max_in_flight=each)
            for number in range(min(REPOSITORIES, parallel))
        ]
        for repo in repos:
            place.script(repo, count // len(repos) + 2)
            await place.ended(await place.file(repo), _LONGEST_SECONDS)  # what is made once is made now
        before, machine = _cpu(place), processes.machine_seconds()
        began = time.monotonic()
        filed = [await place.file(repos[number % len(repos)]) for number in range(count)]
        await asyncio.gather(*(place.ended(one, _LONGEST_SECONDS) for one in filed))
        seconds = time.monotonic() - began
        used = {name: spent - before[name] for name, spent in _cpu(place).items()}
        all_seconds, idle_seconds = (now - then for now, then in zip(processes.machine_seconds(), machine, strict=True))
        runs = [await histories.read(place.client, one.issue) for one in filed]
    detail = {
        "seconds": round(seconds, 1),
        "machine_idle_share": round(idle_seconds / all_seconds, 3),
        "own_share_of_machine": round(sum(used.values()) / all_seconds, 3),
        "cpu_seconds_per_run": {name: round(spent / count, 3) for name, spent in used.items()},
        "cpu_seconds_per_run_of_all": round(sum(used.values()) / count, 3),
        "run_seconds_by_cause": histories.totals(run.segments for run in runs),
        "child_seconds_by_cause": histories.totals(run.child_segments for run in runs),
    }
    what = f"{count} issues at once, {len(repos)} repositories, {each * len(repos)} runs at a time"
    return [
        scoreboard.Row(
            name="runs-per-minute",
            what=what,
            value=count / seconds * 60,
            unit="runs/min",
            goal=_GOAL,
            at_least=True,
            detail=detail,
        )
    ]


def _cpu(place: ground.Ground) -> dict[str, float]:
    """CPU seconds of each part, and of what it has started: git, the agents and their launchers, checks."""
    own = {name: processes.cpu_seconds(pid) for name, pid in place.processes.items()}
    started = {
        f"children of {name}": processes.children_cpu_seconds(pid)
        for name, pid in place.processes.items()
        if name in {"agents", "devforge"}
    }
    return own | started

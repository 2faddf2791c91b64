"""How long a cancelled run still works: from the cancel to the end of the last process that its agent had started."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from activities import rooms
from cli import failures, runs
from domain import refs
from evals import ground, scoreboard
from integrations.git import clones
from sandbox import proc
from workers import laptop

_GOAL: Final = 10.0
_AT_ONCE: Final = 4
_LONGEST_SECONDS: Final = 120
_LEAST: Final = 9
"""Launcher, agent, its shell with two children, the two that ignore TERM, the orphan and its child; a shell that starts
another one makes it one more."""
_COMMAND: Final = """
mkdir pids
( setsid sh -c 'echo $$ > pids/daemon; cd /; trap "" TERM HUP INT; exec sleep 600' & ) </dev/null >/dev/null 2>&1
sh -c 'echo $$ > pids/stubborn; trap "" TERM HUP INT; exec sleep 600' </dev/null >/dev/null 2>&1 &
echo $$ > pids/shell
sh -c 'sleep 600 & sleep 600; true'
"""
_STEPS: Final[Sequence[dict[str, Any]]] = ({"spawn_orphan": {"seconds": 600}}, {"run": {"command": _COMMAND}})
"""An orphan in a session of its own that ignores TERM and holds the agent's output open; a daemon that has left the
session, the tree and the worktree; a child that ignores TERM; and a command that never ends."""


class _Took(NamedTuple):
    quiescent: float
    ended: float


async def measure(count: int) -> list[scoreboard.Row]:
    """Cancel `count` runs in the middle of a turn, as `fettle cancel` does."""
    async with ground.prepared({"FETTLE_AGENT_SLOTS": str(_AT_ONCE)}) as place:
        repo = await place.repository("cancelled", webhooks=True, max_in_flight=_AT_ONCE)
        ground.write_script(place.scripts / "default.json", _STEPS)
        await _once(place, repo)  # pays for what is made once
        limit, done = asyncio.Semaphore(_AT_ONCE), list[_Took]()

        async def one() -> None:
            async with limit:
                done.append(await _once(place, repo))
            if len(done) % 10 == 0:
                ground.progress(f"{len(done)} of {count} runs are cancelled")

        await asyncio.gather(*(one() for _ in range(count)))
    return _rows(done)


async def _once(place: ground.Ground, repo: refs.Repository) -> _Took:
    filed = await place.file(repo)
    host = laptop.configured(place.made.state).host_state_dir
    worktree = clones.RunClone.of(host, filed.issue.workflow_id).path
    room = rooms.Room.of(host, filed.issue.workflow_id).root
    processes: set[proc.Identity] = set()

    def at_work() -> bool:
        processes.update(_processes(worktree))
        return len(processes) >= _LEAST

    await ground.until(at_work, f"the agent of {filed.issue} with all its processes")
    began = time.monotonic()
    ended = asyncio.create_task(_ended(place, filed.issue, began))
    try:
        await ground.until(
            lambda: not any(map(proc.is_alive, processes)) and not proc.working_in(worktree, room),
            f"the end of every process of {filed.issue}",
        )
        quiescent = time.monotonic() - began
        return _Took(quiescent, await ended)
    finally:
        ended.cancel()


async def _ended(place: ground.Ground, issue: refs.Issue, began: float) -> float:
    await runs.cancel(place.client, issue, "measured")
    if await runs.wait_closed(place.client, issue, _LONGEST_SECONDS) is None:
        raise failures.Failed(f"{issue} was cancelled and is open after {_LONGEST_SECONDS} s")
    return time.monotonic() - began


def _processes(worktree: Path) -> list[proc.Identity]:
    """The launcher and all below it; empty until the agent's command has written down every pid."""
    try:
        pids = {name: int((worktree / "pids" / name).read_text()) for name in ("daemon", "stubborn", "shell")}
    except (OSError, ValueError):  # not there yet, or empty
        return []
    launcher = proc.parent(proc.parent(pids["shell"]))  # the agent stands between them
    found = [proc.identity(launcher), *proc.tree(launcher)] if launcher > 1 else []
    living = [each for each in found if each is not None]
    return living if set(pids.values()) <= {each.pid for each in living} else []


def _rows(done: list[_Took]) -> list[scoreboard.Row]:
    found = scoreboard.spread([took.quiescent for took in done])
    ended = scoreboard.spread([took.ended for took in done])
    detail = {
        "quiescent_seconds": scoreboard.rounded(found),
        "ended_seconds": scoreboard.rounded(ended),
        "ended_while_processes_lived": sum(took.ended < took.quiescent for took in done),
    }
    what = f"from the cancel to the end of the last process of the run's agent, {len(done)} runs, {_AT_ONCE} at a time"
    row = scoreboard.Row(name="cancel-p50", what=what, value=found["p50"], unit="s", detail=detail)
    others = (("p99", "the same, p99", _GOAL), ("most", "the same, the longest", None))
    rows = [row]
    for key, words, goal in others:
        name = f"cancel-{'max' if key == 'most' else key}"
        rows.append(scoreboard.Row(name=name, what=words, value=found[key], unit="s", goal=goal))
    words = "until the run has cleaned up, said so and ended, where `fettle cancel` returns, p99"
    return [*rows, scoreboard.Row(name="cancel-ended-p99", what=words, value=ended["p99"], unit="s")]

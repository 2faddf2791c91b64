"""What the death of an agent host costs: one is killed and loses its disk in the middle of a turn, another goes on."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from cli import failures
from evals import ground, scoreboard
from tests.e2e import host_death
from tests.e2e.host_death import AFTER, BEFORE
from tests.e2e.stack import Stack

_GOAL = 45.0
_GOAL_PERCENT = 5.0
_MERGE_SECONDS = 90


class _Moved(NamedTuple):
    seconds: float
    respent: int


async def measure(count: int) -> list[scoreboard.Row]:
    """Lose `count` hosts of one installation, one after another, each in the middle of a turn."""
    moves = []
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        stack = Stack(Path(folder, "state"), **host_death.SETTINGS)
        try:
            await stack.start()
            for number in range(count):
                moves.append(await _once(stack, number))
                ground.progress(f"a host was lost, and its turn went on elsewhere after {moves[-1].seconds:.1f} s")
        except AssertionError as unexpected:  # what the end-to-end tests' installation says
            raise failures.Failed(f"the run did not move to another host: {unexpected}") from unexpected
        finally:
            await stack.stop()
    return _rows(moves)


async def _once(stack: Stack, number: int) -> _Moved:
    repo = await stack.repository(f"moved-{number}", {})
    blocker, occupied = await host_death.keep_busy(stack, repo, f"occupied-{number}")
    hosts = []
    try:
        hosts += [host_death.Host(stack, f"host-{number}-{letter}") for letter in "ab"]
        await host_death.ready(hosts)
        work = await host_death.halfway(stack, repo, f"middle-{number}", hosts)
        seconds = await host_death.resumed_elsewhere(stack, work)
        work.gate.open()
        await stack.merged(work.issue, seconds=_MERGE_SECONDS)
        if (found := host_death.lines(stack, repo)) != host_death.expected():
            raise failures.Failed(f"{work.issue} was merged with {len(found)} lines, it was to have {BEFORE + AFTER}")
        respent = host_death.made(stack, work.issue) - BEFORE - AFTER
        occupied.open()
        await stack.ended(blocker, seconds=_MERGE_SECONDS)
        return _Moved(seconds, respent)
    finally:
        for host in hosts:
            host.end()


def _rows(moves: list[_Moved]) -> list[scoreboard.Row]:
    found = scoreboard.spread([move.seconds for move in moves])
    share = 100 * sum(move.respent for move in moves) / (BEFORE * len(moves))
    detail = {"moved_seconds": scoreboard.rounded(found), "respent": [move.respent for move in moves]}
    what = f"from kill -9 of a host that loses its disk to the resumed agent on another host, p50 of {len(moves)}"
    respent = f"of the {BEFORE} model requests until then that were made again there"
    return [
        scoreboard.Row(name="move", what=what, value=found["p50"], unit="s", goal=_GOAL, detail=detail),
        scoreboard.Row(name="move-respent", what=respent, value=share, unit="%", goal=_GOAL_PERCENT),
    ]

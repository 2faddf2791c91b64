"""What the death of an agent host costs: one is killed and loses its disk at any instant of a turn, another goes on."""

import random
import tempfile
from pathlib import Path
from typing import NamedTuple

from cli import failures
from evals import ground, scoreboard
from tests.e2e import host_death
from tests.e2e.host_death import PACE, REQUESTS
from tests.e2e.stack import Stack

_GOAL = 45.0
_GOAL_PERCENT = 5.0
_MERGE_SECONDS = 90


class _Moved(NamedTuple):
    loss: host_death.Loss
    respent: int


async def measure(count: int) -> list[scoreboard.Row]:
    """Lose `count` hosts of one installation, one after another: the turn has as many equal parts, and each kill comes
    at any instant of its own, so that a few of them say something about all of the turn."""
    moves = []
    seed = host_death.chosen_seed()
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        stack = Stack(Path(folder, "state"), **host_death.SETTINGS)
        try:
            await stack.start()
            for number in range(count):
                moves.append(await _once(stack, number, chance, (number / count, (number + 1) / count)))
                loss, respent = moves[-1]
                ground.progress(
                    f"a host was lost {loss.killed_after:.1f} s into a turn and {loss.unkept_seconds:.1f} s after a "
                    f"checkpoint, the turn went on elsewhere after {loss.moved_seconds:.1f} s, {respent} of "
                    f"{loss.made} requests were made again (seed {seed})"
                )
        except AssertionError as unexpected:  # what the end-to-end tests' installation says
            raise failures.Failed(f"the run did not move to another host: {unexpected}") from unexpected
        finally:
            await stack.stop()
    return _rows(moves, seed)


async def _once(stack: Stack, number: int, chance: random.Random, within: tuple[float, float]) -> _Moved:
    repo = await stack.repository(f"moved-{number}", {})
    blocker, occupied = await host_death.keep_busy(stack, repo, f"occupied-{number}")
    hosts = []
    try:
        hosts += [host_death.Host(stack, f"host-{number}-{letter}") for letter in "ab"]
        await host_death.ready(hosts)
        turn = await host_death.begun(stack, repo, hosts, chance)
        loss = await host_death.killed(stack, turn, chance, within)
        await stack.merged(turn.issue, seconds=_MERGE_SECONDS)
        if (found := host_death.files(stack, repo)) != host_death.expected():
            raise failures.Failed(f"{turn.issue} was merged with {len(found)} files, it was to have {REQUESTS}")
        respent = host_death.made(stack, turn.issue) - REQUESTS
        occupied.open()
        await stack.ended(blocker, seconds=_MERGE_SECONDS)
        return _Moved(loss, respent)
    finally:
        for host in hosts:
            host.end()


def _rows(moves: list[_Moved], seed: int) -> list[scoreboard.Row]:
    found = scoreboard.spread([loss.moved_seconds for loss, _ in moves])
    unkept = scoreboard.spread([loss.unkept_seconds for loss, _ in moves])
    again, made = sum(respent for _, respent in moves), sum(loss.made for loss, _ in moves)
    detail = {
        "moved_seconds": scoreboard.rounded(found),
        "killed_after_seconds": [round(loss.killed_after, 1) for loss, _ in moves],
        "resumed": [loss.resumed for loss, _ in moves],
        "made": [loss.made for loss, _ in moves],
        "respent": [respent for _, respent in moves],
        "seed": seed,
    }
    what = f"from kill -9 of a host that loses its disk to the agent on another host, p50 of {len(moves)}"
    respent = (
        f"of the {made} model requests until then, one each {PACE[0]:g} to {PACE[1]:g} s, that were made again there"
        " (by a cold restart: all)"
    )
    lost = f"age of the newest checkpoint when the host was killed, p50 of {len(moves)}"
    share = 100 * again / max(made, 1)
    return [
        scoreboard.Row(name="move", what=what, value=found["p50"], unit="s", goal=_GOAL, detail=detail),
        scoreboard.Row(name="move-respent", what=respent, value=share, unit="%", goal=_GOAL_PERCENT),
        scoreboard.Row(
            name="move-unkept", what=lost, value=unkept["p50"], unit="s", detail={"unkept": scoreboard.rounded(unkept)}
        ),
    ]

"""Kill anything at any moment and start it again: every run still ends in one merge.

Twenty points over the whole life of a run. Each begins with a new issue, waits until that issue's run is in a phase,
and then, a seeded moment later, takes a process away; the runs of earlier points are in flight meanwhile.
"""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass
from typing import Any, Final

import pytest

from domain import refs, run
from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

SEED_VARIABLE: Final = "KILL_POINTS_SEED"
"""Set it to the printed seed to play the same points again."""
REPOSITORIES: Final = 3
MOST_IN_FLIGHT: Final = 3
JITTER_SECONDS: Final = 0.6
ALL: Final = "fettle up"
TARGETS: Final = (
    *[(ALL, signal.SIGKILL)] * 4,
    *[(ALL, signal.SIGTERM)] * 4,
    *[("temporal", signal.SIGKILL)] * 3,
    *[("temporal", signal.SIGTERM)] * 3,
    *[("control", signal.SIGKILL)] * 2,
    ("agents", signal.SIGKILL),
    ("devforge", signal.SIGKILL),
    ("devforge", signal.SIGTERM),
    ("web", signal.SIGKILL),
)
PHASES: Final = (
    run.Phase.RECEIVED,
    run.Phase.TRIAGED,
    run.Phase.AWAITING_DISPATCH,
    run.Phase.IMPLEMENTING,
    run.Phase.PUBLISHING,
    run.Phase.REVIEWING,
    run.Phase.AWAITING_CI,
    run.Phase.QUEUED,
    run.Phase.MERGING,
    run.Phase.DONE,
)


@dataclass(frozen=True)
class Point:
    number: int
    phase: run.Phase
    after: float
    """Seconds after the phase was first seen."""
    target: str
    signal: signal.Signals

    def __str__(self) -> str:
        return f"{self.number}: {self.signal.name} to {self.target}, {self.after:.2f} s into {self.phase}"


def points(seed: int) -> list[Point]:
    """Every target once, every phase twice, paired and ordered by the seed."""
    chance = random.Random(seed)
    targets, phases = list(TARGETS), list(PHASES) * 2
    chance.shuffle(targets)
    chance.shuffle(phases)
    drawn = enumerate(zip(phases, targets, strict=True), 1)
    return [Point(n, phase, chance.uniform(0, JITTER_SECONDS), *target) for n, (phase, target) in drawn]


def _script(point: Point) -> list[dict[str, Any]]:
    """Half a second of work in a file of its own; a step that was played twice is seen in it."""
    path = f"notes/{point.number}.txt"
    steps: list[dict[str, Any]] = []
    for word in ("one", "two", "three"):
        steps += [{"append": {"path": path, "content": f"{word}\n"}}, {"sleep": 0.2}]
    return [*steps, {"say": "done"}]


async def _play(stack: Stack, point: Point, repo: refs.Repository) -> refs.Issue:
    issue = await stack.ask(repo, f"Note {point.number}", _script(point))
    await stack.entered(issue, point.phase, seconds=90)
    await asyncio.sleep(point.after)
    print(point)  # noqa: T201 - what was done when, for the report of a failure
    if point.target == ALL:
        await stack.kill_all(point.signal)
        await stack.start()
    else:
        await stack.kill(point.target, point.signal)
        await stack.ready_again(point.target)
    return issue


async def _room(stack: Stack, open_issues: list[refs.Issue]) -> list[refs.Issue]:
    """Wait until fewer than the most are in flight; those that still are."""

    async def look() -> list[refs.Issue] | None:
        still = [issue for issue in open_issues if not await _over(stack, issue)]
        return [*still] or [] if len(still) < MOST_IN_FLIGHT else None

    deadline = time.monotonic() + 150
    while (left := await look()) is None:
        assert time.monotonic() < deadline, f"still in flight: {', '.join(map(str, open_issues))}"
        await asyncio.sleep(0.2)
    return left


async def _over(stack: Stack, issue: refs.Issue) -> bool:
    state = await stack.state_of(issue)
    return state is not None and state.closed and state.phase.terminal


async def test_runs_survive_twenty_kills_at_random_moments(stack: Stack) -> None:
    seed = int(os.environ.get(SEED_VARIABLE, random.SystemRandom().randrange(1_000_000)))
    print(f"\n{SEED_VARIABLE}={seed}")  # noqa: T201 - to play it again
    repos = [await stack.repository(f"kill{n}", {"README.md": f"# {n}\n"}) for n in range(REPOSITORIES)]
    issues: list[refs.Issue] = []
    flying: list[refs.Issue] = []
    began = time.monotonic()
    for point in points(seed):
        flying = await _room(stack, flying)
        issues.append(await _play(stack, point, repos[point.number % REPOSITORIES]))
        flying.append(issues[-1])
        for issue in issues:
            await stack.books.check_single_effects(issue)
    print(f"killed {len(issues)} times in {time.monotonic() - began:.0f} s")  # noqa: T201 - a measurement
    await until(lambda: stack.up().get("ready"), 60, "everything ready")
    for issue in issues:
        await stack.merged(issue, seconds=150)
    print(f"all merged after {time.monotonic() - began:.0f} s")  # noqa: T201 - a measurement
    for number, issue in enumerate(issues, 1):
        await stack.books.check_merged_once(issue)
        assert stack.books.show(issue.repo, f"notes/{number}.txt") == "one\ntwo\nthree"
    for repo in repos:
        stack.books.check_main_was_tested(repo)

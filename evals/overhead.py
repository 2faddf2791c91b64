"""What a turn takes beside its agent: the same turn, played by the activity and by the bare command line, in turns.

Here one part is measured alone. What Temporal and the forge add to a turn, a checkpoint's push among it, is in the
latency of a merge.
"""

import asyncio
import itertools
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from temporalio.testing import ActivityEnvironment

from activities import agent_turn, rooms
from cli import failures
from domain import agent
from evals import ground, scoreboard
from integrations.agent import port
from sandbox import levels, process
from tests.activities import agent_host
from tests.agents import clis, model_server, stage

_GOAL_MS: Final = 150.0
_LONGEST_SECONDS: Final = 120
_WALLS: Final = "bubblewrap"
_REAL: Final = clis.CLAUDE_NEW
_BARE: Final = "bare"
_STEPS: Final[list[dict[str, Any]]] = [
    {"write": {"path": "answer.txt", "content": "42\n"}},
    {"say": "The answer is written down."},
]


async def measure(scripted: int, real: int) -> list[scoreboard.Row]:
    """Play every turn by each way, one after the other.

    Args:
        scripted: turns of the scripted agent by each way.
        real: the same of the real Claude, where it is installed.
    """
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        return [*await _scripted(Path(folder, "scripted"), scripted), await _claude(Path(folder, "claude"), real)]


async def _scripted(folder: Path, count: int) -> list[scoreboard.Row]:
    host = agent_host.Host.at(folder)
    host.play(_STEPS)
    environment = {"PATH": os.environ["PATH"]}
    activities = host.activities(environment)
    walls = await levels.ready(levels.Config(host.state, environment, _WALLS))
    ways = {_BARE: _Way(activities).bare, "none": _Way(activities).turn}
    if not walls.why_not:
        confinement = replace(activities.confinement, level=walls)
        ways[_WALLS] = _Way(replace(activities, confinement=confinement)).turn
    requests = _requests(activities, host.worktree)
    took = await _alternated(ways, lambda: next(requests), count)
    rows = [_row("turn-overhead", "of the scripted agent, sandbox `none`", took["none"], took[_BARE])]
    if walls.why_not:
        return [*rows, _missing(f"turn-overhead-{_WALLS}", walls.why_not)]
    words = f"of the scripted agent, sandbox `{_WALLS}`, against the same unconfined command"
    return [*rows, _row(f"turn-overhead-{_WALLS}", words, took[_WALLS], took[_BARE])]


async def _claude(folder: Path, count: int) -> scoreboard.Row:
    name = "turn-overhead-claude"
    if not _REAL.installed:
        return _missing(name, f"{_REAL} is not installed, `make {_REAL.target}` installs it")
    numbers = itertools.count(1)
    async with stage.standing(_REAL, folder) as at:
        activities = at.activities()
        requests = _requests(activities, at.host.worktree)

        def asked() -> agent.TurnRequest:
            at.model.script(at.write(f"answer-{next(numbers)}.txt", "42\n"), model_server.say("It is written down."))
            return next(requests)

        way = _Way(activities)
        took = await _alternated({_BARE: way.bare, "none": way.turn}, asked, count)
        if at.model.unforeseen or at.model.left():
            raise failures.Failed(f"{_REAL} did not ask the model as foreseen: {at.model.unforeseen[:1]}")
    words = f"of {_REAL} against a scripted model on loopback, two requests a turn, sandbox `none`"
    return _row(name, words, took["none"], took[_BARE])


class _Took(NamedTuple):
    wall_ms: float
    cpu_ms: float
    """Of this process and of all that it has waited for."""


@dataclass(frozen=True)
class _Way:
    """Both ways to play a turn on one host."""

    activities: agent_turn.AgentTurnActivities
    found: dict[str, port.Discovery] = field(default_factory=dict)

    async def turn(self, request: agent.TurnRequest) -> _Took:
        """By the activity, from its request to its result."""
        began = _Moment.now()
        result = await ActivityEnvironment().run(self.activities.run_agent, request)
        took = began.took()
        _check(result.outcome, result.summary)
        return took

    async def bare(self, request: agent.TurnRequest) -> _Took:
        """By a subprocess with the same command line, words, environment and empty home."""
        backend = self.activities.backends[request.session.backend]
        spec = self._spec(backend, request)
        began = _Moment.now()
        done = await asyncio.to_thread(_run, spec)
        took = began.took()
        events = [event for line in done.stdout.splitlines() for event in backend.parse(line)]
        verdict = backend.fold(events, done.returncode, request)
        _check(verdict.outcome, verdict.summary or done.stderr.decode("utf-8", "replace")[-400:])
        return took

    def _spec(self, backend: port.AgentBackend, request: agent.TurnRequest) -> process.Spec:
        confinement = self.activities.confinement
        if backend.name not in self.found:
            self.found[backend.name] = backend.discover(confinement.host_environment)
        room = rooms.Room.of(self.activities.state_dir, request.run)
        room.prepare()
        backend.prepare(room.home)
        told = request.model_copy(update={"prompt": self.activities.words.task(request, resume=False)})
        command = backend.command(told, room.home, self.found[backend.name])
        return confinement.spec(command, room, Path(request.worktree), backend.pass_environment)


class _Moment(NamedTuple):
    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "_Moment":
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used))

    def took(self) -> _Took:
        now = _Moment.now()
        return _Took((now.wall - self.wall) * 1000, (now.cpu - self.cpu) * 1000)


def _run(spec: process.Spec) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        spec.argv,
        input=spec.stdin,
        env=spec.env,
        cwd=spec.cwd,
        capture_output=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )


def _requests(activities: agent_turn.AgentTurnActivities, worktree: Path) -> Iterator[agent.TurnRequest]:
    """First turns, each of a run of its own: the home is empty every time."""
    [backend] = activities.backends.values()
    for number in itertools.count(1):
        run, session = f"issue/bench/overhead/{number}", backend.new_session()
        yield agent.TurnRequest(run=run, prompt="Write the answer down.", session=session, worktree=str(worktree))


async def _alternated(
    ways: Mapping[str, Callable[[agent.TurnRequest], Awaitable[_Took]]],
    asked: Callable[[], agent.TurnRequest],
    count: int,
) -> dict[str, list[_Took]]:
    """The ways in turns, so that all see the same machine; the first round pays for what is read once."""
    took: dict[str, list[_Took]] = {name: [] for name in ways}
    for number in range(count + 1):
        for name, way in ways.items():
            took[name].append(await way(asked()))
        if number % 10 == 0:
            ground.progress(f"{number} of {count} turns are played by each of {', '.join(ways)}")
    return {name: each[1:] for name, each in took.items()}


def _check(outcome: agent.Outcome, summary: str) -> None:
    if outcome is not agent.Outcome.FINISHED:
        raise failures.Failed(f"a turn ended in {outcome}, it was to be finished: {summary}")


def _row(name: str, words: str, played: list[_Took], bare: list[_Took]) -> scoreboard.Row:
    added = [ours.wall_ms - theirs.wall_ms for ours, theirs in zip(played, bare, strict=True)]
    cpu = [ours.cpu_ms - theirs.cpu_ms for ours, theirs in zip(played, bare, strict=True)]
    found = scoreboard.spread(added)
    detail = {
        "added_ms": scoreboard.rounded(found),
        "added_cpu_ms": scoreboard.rounded(scoreboard.spread(cpu)),
        "turn_ms": scoreboard.rounded(scoreboard.spread([each.wall_ms for each in played])),
        "bare_ms": scoreboard.rounded(scoreboard.spread([each.wall_ms for each in bare])),
    }
    what = f"what the runner adds to a turn {words}, p50 of {len(added)} pairs"
    return scoreboard.Row(name=name, what=what, value=found["p50"], unit="ms", goal=_GOAL_MS, detail=detail)


def _missing(name: str, why: str) -> scoreboard.Row:
    return scoreboard.Row(name=name, what=f"not measured: {why}", value=None, unit="ms", goal=_GOAL_MS)

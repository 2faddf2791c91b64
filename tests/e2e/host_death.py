"""An agent host that dies with its disk at any instant of a turn: more hosts for an installation, and work to lose.

Each step of the work stands for a request to a model: it takes the time of an answer, and leaves a line in the agent's
output that shows when it was made twice.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from activities import artifact_store, turn_checkpoint
from domain import implement, refs
from sandbox import proc
from tests.e2e.agents import Gate
from tests.e2e.stack import ROOT, Stack
from tests.e2e.waiting import until
from workers import connection, embedded_forge, tether

SETTINGS: Final = {"FETTLE_AGENT_SLOTS": "1", "FETTLE_SANDBOX": "none"}
"""Nothing about checkpoints: they come as often as by default."""
REQUESTS: Final = 60
PACE: Final = (1.0, 2.0)
"""Seconds that an answer takes, least and most: a model takes longer, so fewer of its answers are lost."""
FOLDER: Final = "steps"


def chosen_seed() -> int:
    """Of the paces and of the instants of the kills: `HOST_DEATH_SEED`, or one that nobody chose."""
    return int(os.environ.get("HOST_DEATH_SEED") or random.SystemRandom().getrandbits(32))


class Host:
    """One more agent host of an installation: a process, an id and a disk of its own."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.name = name
        self.disk = stack.state.parent / f"disk-{name}"
        forge = embedded_forge.EmbeddedForge(stack.state, 0)
        given = {k: v for k, v in stack.environment.items() if k.startswith("FETTLE_")}
        environment = {
            **connection.embedded_environment(str(stack.up()["temporal_address"])),
            **given,
            **forge.environment(),
            "FETTLE_FORGE__API_URL": str(stack.up()["forge_url"]),
            "FETTLE_STATE_DIR": str(stack.state),
            "FETTLE_HOST_STATE_DIR": str(self.disk),
            "FETTLE_HOST_ID": name,
            "FETTLE_AGENT_SLOTS": "2",
        }
        tied = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(signal.SIGTERM)))
        self.log = stack.state.parent / f"{name}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*tied, sys.executable, "-m", "workers", "agents"],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        return b'"ready": true' in self.log.read_bytes()

    def agents(self) -> list[proc.Identity]:
        """Launchers and programs of the turns that it plays."""
        records = [json.loads(path.read_text()) for path in (self.disk / "sessions").glob("*.json")]
        return [proc.Identity(*pair) for record in records for pair in record["processes"]]

    def die(self) -> None:
        """As a machine dies: everything at once, the git processes too that it has started, and the disk."""
        left = [*proc.tree(self.process.pid), *self.agents()]
        self.process.kill()
        for each in left:
            proc.send(each, signal.SIGKILL)
        self.process.wait()
        shutil.move(self.disk, self.disk.with_suffix(".lost"))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for each in self.agents():
            proc.send(each, signal.SIGKILL)


@dataclass(frozen=True)
class Turn:
    """A turn that has begun, and the host that plays it."""

    issue: refs.Issue
    state: implement.State
    host: Host
    pauses: tuple[float, ...]
    """Seconds before each answer."""


@dataclass(frozen=True)
class Loss:
    """What the kill of a host cost."""

    killed_after: float
    """Seconds of the turn."""
    made: int
    """Requests that had been answered by then: a cold restart makes them all again."""
    unkept_seconds: float
    """Age of the newest checkpoint, or of the turn when there was none."""
    moved_seconds: float
    """From the kill to the agent on another host."""
    resumed: bool
    """It went on with the conversation."""


async def keep_busy(stack: Stack, repo: refs.Repository, name: str) -> tuple[refs.Issue, Gate]:
    """Give the host of `fettle up` itself another run: its supervisor would start it again."""
    gate = dataclasses.replace(stack.gate(name), seconds=590)
    issue = await stack.ask(repo, "Keep the first host busy", [*gate.steps, {"say": "done"}])
    await gate.reached()
    return issue, gate


async def ready(hosts: Sequence[Host]) -> None:
    await until(lambda: all(host.ready for host in hosts), 60, "more hosts ready")


async def begun(stack: Stack, repo: refs.Repository, hosts: Sequence[Host], chance: random.Random) -> Turn:
    """Start a run on one of `hosts`, and wait until its agent works."""
    pauses = tuple(round(chance.uniform(*PACE), 2) for _ in range(REQUESTS))
    issue = await stack.ask(repo, "Write many files", _steps(pauses))
    await until(lambda: _sessions(stack, issue), 30, f"the agent of {issue}")
    state = await stack.round_of(issue)
    assert state is not None
    assert state.lease is not None
    [host] = [host for host in hosts if host.name == state.lease.host_id]
    return Turn(issue, state, host, pauses)


async def killed(stack: Stack, turn: Turn, chance: random.Random, within: tuple[float, float] = (0.0, 1.0)) -> Loss:
    """Let the host die at any instant of its turn, or of a part of it, and wait until the turn goes on elsewhere."""
    began = time.monotonic()
    instant = chance.uniform(*within) * sum(turn.pauses)
    await until(lambda: time.monotonic() - began >= instant, instant + 5, "the instant of the kill")
    killed_at, after = datetime.now(UTC), time.monotonic() - began
    turn.host.die()
    down = time.monotonic()
    count, note = made(stack, turn.issue), _note(stack, turn.issue)
    stack.script(turn.issue, _steps([0.0] * REQUESTS))  # what is left says nothing about the kill
    await until(lambda: len(_sessions(stack, turn.issue)) == 2, 90, f"{turn.issue} on another host")
    return Loss(
        killed_after=after,
        made=count,
        unkept_seconds=(killed_at - note.at).total_seconds() if note else after,
        moved_seconds=time.monotonic() - down,
        resumed=_sessions(stack, turn.issue)[1],
    )


def made(stack: Stack, issue: refs.Issue) -> int:
    """Requests that were answered, over all hosts."""
    return sum(event.get("tool") == "write" for event in stack.events_of(issue))


def files(stack: Stack, repo: refs.Repository) -> dict[str, str]:
    """What the steps have left on the main branch."""
    with suppress(subprocess.CalledProcessError):
        names = stack.books.git(repo, "ls-tree", "--name-only", f"main:{FOLDER}").split()
        return {name: stack.books.show(repo, f"{FOLDER}/{name}").strip() for name in names}
    return {}


def expected() -> dict[str, str]:
    """What `files` is when every step was made."""
    return {f"{number}.txt": str(number) for number in range(1, REQUESTS + 1)}


def _steps(pauses: Sequence[float]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    for number, pause in enumerate(pauses, 1):
        steps += [{"sleep": pause}, {"write": {"path": f"{FOLDER}/{number}.txt", "content": f"{number}\n"}}]
    return [*steps, {"say": "done"}]


def _sessions(stack: Stack, issue: refs.Issue) -> list[bool]:
    """Of each process of the agent, whether it was resumed."""
    return [event["resumed"] for event in stack.events_of(issue) if event["type"] == "session"]


def _note(stack: Stack, issue: refs.Issue) -> turn_checkpoint.Note | None:
    place = stack.state / "artifacts" / artifact_store.run_key(issue.workflow_id, "checkpoint.json")
    return turn_checkpoint.Note.model_validate_json(place.read_bytes()) if place.exists() else None

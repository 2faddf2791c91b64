"""An agent host that dies with its disk in the middle of a turn: more hosts for an installation, and work to lose.

Each step of the work stands for a request to a model, and leaves a line that shows when it was made twice.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from activities import artifact_store, turn_checkpoint
from domain import implement, refs
from sandbox import proc
from tests.e2e.agents import Gate
from tests.e2e.stack import ROOT, Stack
from tests.e2e.waiting import until
from workers import connection, embedded_forge, tether

SETTINGS: Final = {"FETTLE_AGENT_SLOTS": "1", "FETTLE_SANDBOX": "none", "FETTLE_CHECKPOINT_SECONDS": "1"}
BEFORE, AFTER = 30, 4
"""Requests until the host dies, and after it."""
FILE: Final = "steps.txt"


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
        """As a machine dies: everything at once, the disk too."""
        agents = self.agents()
        self.process.kill()
        for each in agents:
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
class Halfway:
    """A run whose work up to its gate is kept, and the host that plays its turn."""

    issue: refs.Issue
    gate: Gate
    state: implement.State
    note: turn_checkpoint.Note
    host: Host


async def keep_busy(stack: Stack, repo: refs.Repository, name: str) -> tuple[refs.Issue, Gate]:
    """Give the host of `fettle up` itself another run: its supervisor would start it again."""
    gate = stack.gate(name)
    issue = await stack.ask(repo, "Keep the first host busy", [*gate.steps, {"say": "done"}])
    await gate.reached()
    return issue, gate


async def ready(hosts: Sequence[Host]) -> None:
    await until(lambda: all(host.ready for host in hosts), 60, "more hosts ready")


async def halfway(stack: Stack, repo: refs.Repository, name: str, hosts: Sequence[Host]) -> Halfway:
    """Start a run on one of `hosts`, and wait until all that it did up to its gate is kept elsewhere."""
    gate = stack.gate(name)
    steps = [*_requests(1, BEFORE), *gate.steps, *_requests(BEFORE + 1, BEFORE + AFTER), {"say": "done"}]
    issue = await stack.ask(repo, "Write many lines", steps)
    await gate.reached()
    note = await _kept(stack, issue)
    state = await stack.round_of(issue)
    assert state is not None
    assert state.lease is not None
    [host] = [host for host in hosts if host.name == state.lease.host_id]
    return Halfway(issue, gate, state, note, host)


async def resumed_elsewhere(stack: Stack, work: Halfway) -> float:
    """Let the host die; returns the seconds until its conversation goes on on another one."""
    killed_at = time.monotonic()
    work.host.die()

    def resumed() -> bool:
        events = stack.events_of(work.issue)
        return [event["resumed"] for event in events if event["type"] == "session"] == [False, True]

    await until(resumed, 90, f"the session of {work.issue} on another host")
    return time.monotonic() - killed_at


def made(stack: Stack, issue: refs.Issue) -> int:
    """Requests over all hosts."""
    return sum(event.get("tool") == "append" for event in stack.events_of(issue))


def lines(stack: Stack, repo: refs.Repository) -> list[str]:
    """What the steps have left on the main branch."""
    return str(stack.books.show(repo, FILE)).splitlines()


def expected() -> list[str]:
    """What `lines` is when every step has left one line."""
    return [str(n) for n in range(1, BEFORE + AFTER + 1)]


def _requests(first: int, last: int) -> list[dict[str, Any]]:
    return [{"append": {"path": FILE, "content": f"{n}\n"}} for n in range(first, last + 1)]


def _note(stack: Stack, issue: refs.Issue) -> turn_checkpoint.Note | None:
    place = stack.state / "artifacts" / artifact_store.run_key(issue.workflow_id, "checkpoint.json")
    return turn_checkpoint.Note.model_validate_json(place.read_bytes()) if place.exists() else None


async def _kept(stack: Stack, issue: refs.Issue) -> turn_checkpoint.Note:
    """Wait until the work up to the gate is on the forge."""

    def look() -> turn_checkpoint.Note | None:
        note = _note(stack, issue)
        if note is None or not note.progress.wip_sha:
            return None
        try:
            found = stack.books.show(issue.repo, FILE, note.progress.wip_sha).splitlines()
        except subprocess.CalledProcessError:  # no step was kept yet
            return None
        return note if len(found) == BEFORE else None

    return await until(look, 30, f"a checkpoint of {issue} with {BEFORE} steps")

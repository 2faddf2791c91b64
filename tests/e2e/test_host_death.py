"""An agent host dies with its disk in the middle of a turn: another one goes on with the same conversation and work."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from activities import artifact_store, turn_checkpoint
from domain import refs
from sandbox import proc
from tests.e2e.stack import ROOT, Stack
from tests.e2e.waiting import until
from workers import connection, embedded_forge, tether

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(200)]

RESUMED_WITHIN = 45.0
BEFORE, AFTER = 30, 4
RESPENT_SHARE = 0.05


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


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    more = {"FETTLE_AGENT_SLOTS": "1", "FETTLE_SANDBOX": "none", "FETTLE_CHECKPOINT_SECONDS": "1"}
    made = Stack(tmp_path / "state", **more)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest.fixture
def started() -> Iterator[list[Host]]:
    hosts: list[Host] = []
    yield hosts
    for host in hosts:
        host.end()


def _requests(first: int, last: int) -> list[dict[str, Any]]:
    """Each step stands for a request to a model, and leaves a line that shows when it was made twice."""
    return [{"append": {"path": "steps.txt", "content": f"{n}\n"}} for n in range(first, last + 1)]


def _made(stack: Stack, issue: refs.Issue) -> int:
    return sum(event.get("tool") == "append" for event in stack.events_of(issue))


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
            lines = stack.books.show(issue.repo, "steps.txt", note.progress.wip_sha).splitlines()
        except subprocess.CalledProcessError:  # no step was kept yet
            return None
        return note if len(lines) == BEFORE else None

    return await until(look, 30, f"a checkpoint of {issue} with {BEFORE} steps")


async def test_a_killed_host_with_its_disk_is_replaced_by_another_in_the_middle_of_a_turn(
    stack: Stack, started: list[Host]
) -> None:
    repo = await stack.repository("death", {})
    # The host of `fettle up` itself would be started again by its supervisor: it is kept busy with another run.
    occupied = stack.gate("occupied")
    blocker = await stack.ask(repo, "Keep the first host busy", [*occupied.steps, {"say": "done"}])
    await occupied.reached()
    started += [Host(stack, name) for name in ("host-a", "host-b")]
    await until(lambda: all(host.ready for host in started), 60, "two more hosts ready")
    gate = stack.gate("middle")
    steps = [*_requests(1, BEFORE), *gate.steps, *_requests(BEFORE + 1, BEFORE + AFTER), {"say": "done"}]
    issue = await stack.ask(repo, "Write many lines", steps)
    await gate.reached()
    note = await _kept(stack, issue)
    state = await stack.round_of(issue)
    assert state is not None
    assert state.lease is not None
    assert state.session is not None
    [lost] = [host for host in started if host.name == state.lease.host_id]
    shown = json.loads((await stack.fettle("hosts", "--json")).stdout)
    listed = {host["id"]: host for host in shown}
    assert len(listed) == 3
    assert [run["run"] for run in listed[lost.name]["runs"]] == [issue.workflow_id]
    assert listed[lost.name]["agents"]["scripted"]["ready"]
    killed_at = time.monotonic()
    lost.die()

    def resumed() -> bool:
        return [event["resumed"] for event in stack.events_of(issue) if event["type"] == "session"] == [False, True]

    await until(resumed, 90, f"the session of {issue} on another host")
    seconds = time.monotonic() - killed_at
    respent = _made(stack, issue) - BEFORE
    gate.open()
    merged = await stack.merged(issue, seconds=90)
    print(  # noqa: T201 - a measurement, shown with -s
        f"resumed on another host {seconds:.1f} s after the kill, {respent} of {BEFORE} requests made again "
        f"(a cold restart makes {BEFORE} again)"
    )
    assert seconds <= RESUMED_WITHIN
    assert respent <= RESPENT_SHARE * BEFORE
    assert _made(stack, issue) == BEFORE + AFTER + respent
    assert merged.session is not None
    assert merged.session.id == state.session.id == note.progress.session.id
    lines = [str(n) for n in range(1, BEFORE + AFTER + 1)]
    assert stack.books.show(repo, "steps.txt").splitlines() == lines
    await stack.books.check_merged_once(issue)
    occupied.open()
    await stack.ended(blocker, seconds=90)
    assert "refs/fettle/" not in stack.books.git(repo, "for-each-ref", "--format=%(refname)")

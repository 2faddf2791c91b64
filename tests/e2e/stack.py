"""A whole installation as its operator starts it: the real `fettle up`, its forge and agents, to be hurt by a test."""

import asyncio
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from activities import artifact_store
from cli import outside
from domain import agent, implement, policy, refs, run, wire
from sandbox import proc
from store import repositories
from store.engine import Store
from tests.e2e import books, command, people
from tests.e2e.agents import Gate, RunningAgent
from tests.e2e.waiting import until
from workers import connection, embedded_forge, schedules, settings, tether

ROOT: Final = Path(__file__).parents[2]
SETTINGS: Final = {
    "FETTLE_DEFAULT_AGENT": "scripted",
    "FETTLE_CI_POLL_SECONDS": "1",
    "FETTLE_GATE_POLL_SECONDS": "1",
    "FETTLE_INTAKE_INTERVAL_SECONDS": "2",
    "FETTLE_AGENT_SLOTS": "6",
    "FETTLE_SANDBOX": "none",  # the scripted agents wait at gates that lie outside of any sandbox
}
"""Polls short enough that a test in which every webhook is lost does not wait for minutes."""
_ANSWER: Final = timedelta(seconds=5)


class Stack:
    """One state directory and the `fettle up` that works on it. Starting it again is the same command line."""

    def __init__(self, state: Path, **more: str) -> None:
        self.state = state
        self.scripts = state.parent / f"{state.name}-scripts"
        self.gates = state.parent / f"{state.name}-gates"
        for folder in (self.scripts, self.gates):
            folder.mkdir(parents=True, exist_ok=True)
        chosen = {**SETTINGS, "FETTLE_SCRIPTED": str(self.scripts), **more}
        self.environment = command.environment(FETTLE_OPERATOR="ann", COLUMNS="200", **chosen)
        self.temporal: Client
        self.people: people.People
        self.books: books.Books
        self._registered: list[refs.Repository] = []
        self._http: httpx.AsyncClient | None = None
        self._up: subprocess.Popen[bytes] | None = None
        self._seen: set[proc.Identity] = set()

    # --- life ---

    async def start(self) -> float:
        """Start `fettle up` and return when it is ready, with the seconds that took."""
        began = time.monotonic()
        self.spawn()
        await self.ready()
        return time.monotonic() - began

    def spawn(self) -> None:
        """Start `fettle up`; the kernel ends it with this process."""
        log = self.state.with_suffix(".up.log")
        tied = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(signal.SIGTERM)))
        up = (sys.executable, "-m", "cli.main", "up", "--state", str(self.state), "--ports", "auto", "--json")
        with log.open("ab") as output:
            self._up = subprocess.Popen(
                [*tied, *up], env=self.environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    async def ready(self, seconds: float = 60) -> None:
        """Wait until every part is ready, then connect."""
        process = self._up
        assert process is not None

        def look() -> dict[str, Any] | None:
            assert process.poll() is None, f"fettle up ended: {self.state.with_suffix('.up.log').read_text()[-2000:]}"
            found = self.up()
            return found if found.get("ready") and found.get("pid") == process.pid else None

        up = await until(look, seconds, lambda: f"fettle up ready, {self.up().get('states')}")
        self._remember()
        self.temporal = await connection.connect("test", address=up["temporal_address"])
        await self._hang_up()
        http = self._http = httpx.AsyncClient(base_url=up["forge_url"], timeout=60, trust_env=False)
        self.people = people.People(
            http, embedded_forge.admin_token(self.state), f"{up['web_url']}/webhooks/github", self._webhook_secret()
        )
        self.books = books.Books(http, self.people.admin, self.state / embedded_forge.FOLDER)

    @property
    def running(self) -> bool:
        return self._up is not None and self._up.poll() is None

    @property
    def web_url(self) -> str:
        return str(self.up()["web_url"])

    def up(self) -> dict[str, Any]:
        return connection.read_up(self.state) or {}

    def process(self, name: str) -> proc.Identity:
        """The living process of a part: temporal, devforge, control, agents or web."""
        up = self.up()
        found = proc.Identity(int(up["processes"][name]), int(up["started"][name]))
        self._seen.add(found)
        return found

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> proc.Identity:
        """Signal a part, and wait until that process is gone; the supervisor then starts another."""
        killed = await until(lambda: self._alive(name), 30, f"a living {name}")
        proc.send(killed, number)
        await until(lambda: not proc.is_alive(killed), 30, f"the end of {name} after {number.name}")
        return killed

    async def ready_again(self, name: str, seconds: float = 60) -> None:
        """Wait until another process of a part that was killed is ready."""

        def look() -> bool:
            return self.up().get("states", {}).get(name) == "ready" and self._alive(name) is not None

        await until(look, seconds, lambda: f"{name} ready again, {self.up().get('states')}")

    async def kill_all(self, number: signal.Signals) -> None:
        """Signal `fettle up` itself and wait for its end, and for that of all it started."""
        assert self._up is not None
        self._remember()
        self._up.send_signal(number)
        await until(lambda: not self.running, 60, f"the end of fettle up after {number.name}")
        await until(lambda: not self._left(), 15, lambda: f"the end of what fettle up had started: {self._left()}")

    async def _hang_up(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def stop(self) -> None:
        """End everything; nothing may be left."""
        await self._hang_up()
        if self.running:
            try:
                await self.kill_all(signal.SIGTERM)
            finally:
                if self._up is not None and self.running:
                    self._up.kill()
                    self._up.wait()
        for left in self._left():
            proc.send(left, signal.SIGKILL)

    def _alive(self, name: str) -> proc.Identity | None:
        with suppress(KeyError, TypeError):
            found = self.process(name)
            return found if proc.is_alive(found) else None
        return None

    def _remember(self) -> None:
        up = self.up()
        for name, pid in up.get("processes", {}).items():
            if name in up["started"]:
                self._seen.add(proc.Identity(pid, up["started"][name]))

    def _left(self) -> list[proc.Identity]:
        return [each for each in self._seen if proc.is_alive(each)]

    def _webhook_secret(self) -> str:
        return (self.state / "secrets" / "webhook-secret").read_text().strip()

    async def fettle(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command as an operator in another terminal does."""
        given = {k: v for k, v in self.environment.items() if k.startswith("FETTLE_") or k == "COLUMNS"}
        given["FETTLE_STATE_DIR"] = str(self.state)
        return await asyncio.to_thread(functools.partial(command.fettle, *words, seconds=90, cwd=ROOT, **given))

    # --- runs ---

    async def repository(
        self, name: str, files: Mapping[str, str], *, ci: str = "true", **given: Any
    ) -> refs.Repository:
        """A repository with one required check that runs `ci`, registered for runs without a person's approval; `given`
        are keys of its policy."""
        folder = self.state.parent / f"{self.state.name}-{name}"
        repo = await self.people.repository(name, folder, files, ci)
        rules = policy.RepositoryPolicy(
            **{"approval_mode": policy.ApprovalMode.FULL_AUTO, "max_in_flight": 20, **given}
        )
        async with self._store() as store:
            await store.repositories.upsert(
                repositories.Registration(ref=repo, policy=rules, added_at=datetime.now(UTC))
            )
        await schedules.ensure_intake(self.temporal, repo, self._config())
        self._registered.append(repo)
        return repo

    async def forget(self) -> None:
        """Unregister every repository: a look every two seconds at each of dozens would be the load of the tests."""
        async with self._store() as store:
            while self._registered:
                repo = self._registered.pop()
                await schedules.remove_intake(self.temporal, repo)
                await store.repositories.remove(repo)

    def _config(self) -> settings.Settings:
        interval = float(SETTINGS["FETTLE_INTAKE_INTERVAL_SECONDS"])
        return settings.load(state_dir=self.state, intake_interval_seconds=interval)

    def _store(self) -> AbstractAsyncContextManager[Store]:
        return outside.store(self._config())

    async def ask(self, repo: refs.Repository, title: str, *turns: list[dict[str, Any]]) -> refs.Issue:
        """File an issue, write what its agent will do, then set the label that starts the run."""
        issue = await self.people.file(repo, title)
        self.script(issue, *turns)
        await self.people.label(issue)
        return issue

    def script(self, issue: refs.Issue, *turns: list[dict[str, Any]]) -> None:
        """What the agent of this issue does, turn by turn."""
        path = self.scripts / f"{issue.repo.owner}__{issue.repo.name}__{issue.number}.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"name": str(issue), "turns": [{"steps": steps} for steps in turns]}))
        fresh.replace(path)

    def gate(self, name: str) -> Gate:
        """A place in a script where the agent says that it is there, and waits to be let on."""
        return Gate(self.gates / name)

    async def state_of(self, issue: refs.Issue) -> run.State | None:
        """What the run knows; None while nobody answers."""
        with suppress(RPCError):
            handle = self.temporal.get_workflow_handle(issue.workflow_id)
            found: run.State = await handle.query(wire.SNAPSHOT, result_type=run.State, rpc_timeout=_ANSWER)
            return found
        return None

    async def round_of(self, issue: refs.Issue) -> implement.State | None:
        """What the run's implementation round knows."""
        with suppress(RPCError):
            handle = self.temporal.get_workflow_handle(f"{issue.workflow_id}/implement")
            found: implement.State = await handle.query(wire.SNAPSHOT, result_type=implement.State, rpc_timeout=_ANSWER)
            return found
        return None

    async def entered(self, issue: refs.Issue, phase: run.Phase, seconds: float = 30) -> run.State:
        """Wait until the run has been in `phase`, or has ended without it."""

        async def look() -> run.State | None:
            state = await self.state_of(issue)
            seen = state and (state.phase is phase or any(m.phase is phase for m in state.marks) or state.closed)
            return state if seen else None

        return await until(look, seconds, f"{issue} in {phase}")

    async def gate_at(self, issue: refs.Issue, head: str, seconds: float = 30) -> run.State:
        """Wait until the run asks for a person's word on `head`."""

        async def look() -> run.State | None:
            state = await self.state_of(issue)
            asks = state and state.hold and state.hold.kind is run.HoldKind.MERGE_APPROVAL
            return state if asks and state and state.change and state.change.head_sha == head else None

        return await until(look, seconds, f"{issue} at its gate with {head}")

    async def ended(self, issue: refs.Issue, seconds: float = 60) -> run.State:
        """Wait for the end of the run, whatever it is."""
        last: list[run.State] = []

        async def look() -> run.State | None:
            state = await self.state_of(issue)
            last[:] = [state] if state else last
            if state is None or not state.closed or not state.phase.terminal:
                return None
            return None if await self.is_open(issue) else state

        def words() -> str:
            return f"the end of {issue}; last seen: {last[0].model_dump_json(exclude={'body'}) if last else 'nothing'}"

        return await until(look, seconds, words)

    async def merged(self, issue: refs.Issue, seconds: float = 60) -> run.State:
        """Wait for the end of the run, which must be a merge by us."""
        state = await self.ended(issue, seconds)
        assert state.phase is run.Phase.DONE, f"{issue} ended as {state.ending}"
        assert state.merge.merged_sha, f"{issue} is done without a merge: {state.ending}"
        return state

    async def is_open(self, issue: refs.Issue) -> bool:
        return (await self.execution(issue))[1] is WorkflowExecutionStatus.RUNNING

    async def execution(self, issue: refs.Issue) -> tuple[str, WorkflowExecutionStatus | None]:
        """The id and the status of the newest execution."""
        described = await self.temporal.get_workflow_handle(issue.workflow_id).describe()
        return described.run_id, described.status

    # --- agents ---

    async def agent_of(self, issue: refs.Issue, seconds: float = 30) -> RunningAgent:
        """The session of the run's present turn, and its living processes."""

        async def look() -> RunningAgent | None:
            state = await self.round_of(issue)
            if state is None or state.session is None:
                return None
            return self._running(state.session)

        return await until(look, seconds, f"a running agent of {issue}")

    def _running(self, session: agent.Session) -> RunningAgent | None:
        name = hashlib.sha256(f"{session.backend}:{session.id}".encode()).hexdigest()[:32]
        with suppress(OSError, ValueError):
            record = json.loads((self.state / "host" / "sessions" / f"{name}.json").read_text())
            found = [proc.Identity(*pair) for pair in record["processes"]]
            self._seen.update(found)
            if len(found) == 2 and all(map(proc.is_alive, found)):
                return RunningAgent(session.id, found[0], found[1])
        return None

    async def orphan_of(self, issue: refs.Issue) -> proc.Identity:
        """The process that the run's agent has started outside of its tree, once it has told of it."""

        def look() -> proc.Identity | None:
            pids = [event["pid"] for event in self.events_of(issue) if event.get("tool") == "spawn_orphan"]
            return proc.identity(pids[-1]) if pids else None

        return await until(look, 30, f"a living orphan of the agent of {issue}")

    def events_of(self, issue: refs.Issue) -> list[dict[str, Any]]:
        """The lines that the agent printed, over all turns and attempts."""
        folder = (self.state / "artifacts" / artifact_store.run_key(issue.workflow_id, "turn")).parent
        turns = sorted(folder.glob("turn-*.jsonl"), key=lambda path: int(path.stem.removeprefix("turn-")))
        lines = [line for path in turns for line in path.read_bytes().splitlines()]
        found = []
        for line in lines:
            with suppress(ValueError):  # a line that was cut off by a kill
                found.append(json.loads(line))
        return [each for each in found if isinstance(each, dict)]

"""A real agent CLI on an agent host of one test: an empty home, a fake key, a scripted model on loopback.

`turn` goes the way of a run: through the activity. `play` starts the backend's command under the launcher alone, for
what the activity hides (a verdict that it turns into an error, a signal that it would not send).
"""

import asyncio
import json
import os
import shlex
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities import agent_turn, artifact_store, rooms, turn_process
from domain import agent, redaction
from integrations.agent import claude, codex, port
from sandbox import process, unconfined
from tests.activities.agent_host import RUN, Host, processes_in
from tests.agents import clis, model_server, servers_messages, servers_responses

KEY = "fake-key-of-a-test"


@dataclass(frozen=True)
class Ended:
    """What one process of an agent left."""

    verdict: port.Verdict
    events: tuple[agent.Event, ...]
    exit_code: int | None
    stdout: bytes
    stderr: str
    swept: int


@dataclass(frozen=True)
class Stage:
    host: Host
    cli: clis.Cli
    backend: port.AgentBackend
    environment: dict[str, str]
    model: model_server.ModelServer
    found: port.Discovery

    @property
    def room(self) -> rooms.Room:
        return rooms.Room.of(self.host.state, RUN)

    @property
    def confinement(self) -> rooms.Confinement:
        return rooms.Confinement(self.environment, unconfined.Unconfined())

    def activities(self) -> agent_turn.AgentTurnActivities:
        return agent_turn.AgentTurnActivities(
            backends={self.backend.name: self.backend},
            artifacts=artifact_store.DirectoryStore(self.host.state / "artifacts"),
            state_dir=self.host.state,
            confinement=self.confinement,
            redactor=redaction.Redactor(frozenset({KEY})),
        )

    def request(self, prompt: str = "Do it.", **more: Any) -> agent.TurnRequest:
        facts: dict[str, Any] = {
            "run": RUN,
            "prompt": prompt,
            "session": agent.Session(backend=self.backend.name, id=str(uuid.uuid4())),  # as a run asks for it
            "worktree": str(self.host.worktree),
            "limits": agent.Limits(total_seconds=50),
        }
        return agent.TurnRequest(**{**facts, **more})

    def after(self, result: agent.TurnResult, prompt: str = "Go on.", **more: Any) -> agent.TurnRequest:
        """The next turn of the same session."""
        return self.request(prompt, **{"session": result.session, "resume": True, "round": 2, **more})

    async def turn(
        self, request: agent.TurnRequest, environment: ActivityEnvironment | None = None
    ) -> agent.TurnResult:
        result: agent.TurnResult = await (environment or ActivityEnvironment()).run(
            self.activities().run_agent, request
        )
        return result

    def spec(self, request: agent.TurnRequest, access: port.ModelAccess | None = None) -> process.Spec:
        """What the activity would start."""
        self.room.prepare()
        self.backend.prepare(self.room.home)
        command = self.backend.command(request, self.room.home, self.found, access)
        api = self.backend.model_api
        held = api.key_variables if api and access else ()
        passed = tuple(name for name in self.backend.pass_environment if name not in held)
        return self.confinement.spec(command, self.room, self.host.worktree, passed)

    async def play(self, request: agent.TurnRequest, access: port.ModelAccess | None = None) -> Ended:
        done = await process.capture(self.spec(request, access), seconds=40, most=16 * 1024 * 1024)
        assert not done.timed_out
        return self.ended(request, done.status, done.stdout, done.stderr)

    @asynccontextmanager
    async def started(self, request: agent.TurnRequest) -> AsyncIterator[process.ConfinedProcess]:
        """The process of a turn, for a test that reads, or ends, it itself; nothing of it is left afterwards."""
        running = await process.ConfinedProcess.start(self.spec(request))
        try:
            yield running
        finally:
            await running.close(0)

    def ended(self, request: agent.TurnRequest, status: process.Status, stdout: bytes, stderr: bytes) -> Ended:
        events = tuple(event for line in stdout.split(b"\n") for event in self.backend.parse(line))
        code = turn_process.exit_code_of(status)
        verdict = self.backend.fold(events, code, request)
        return Ended(verdict, events, code, stdout, stderr.decode("utf-8", "replace"), status.swept)

    def _transcripts(self) -> list[Path]:
        folders = {"claude": "projects/*", "codex": "sessions/*/*/*"}
        return list(self.backend.config_dir(self.room.home).glob(f"{folders[self.cli.program]}/*.jsonl"))

    def kept_session(self) -> agent.Session:
        """The one conversation in the run's home, as a heartbeat would have told it."""
        [transcript] = self._transcripts()
        return agent.Session(backend=self.backend.name, id=transcript.stem[-36:])

    def kept_text(self) -> str:
        """What the CLI has written of it; empty before it has begun to."""
        return "".join(path.read_text() for path in self._transcripts())

    def write(self, name: str, text: str) -> model_server.Reply:
        """The model writes a file of the worktree."""
        if self.cli.program == "claude":
            return model_server.call("Write", file_path=name, content=text)
        return self.shell(f"printf %s {shlex.quote(text)} > {shlex.quote(name)}")

    def shell(self, command: str) -> model_server.Reply:
        """The model runs a command."""
        if self.cli.program == "claude":
            return model_server.call("Bash", command=command, description="a step of the script")
        return model_server.call("exec_command", cmd=command)

    def structured(self, answer: dict[str, Any]) -> model_server.Reply:
        """The model answers in the schema."""
        if self.cli.program == "claude":
            return model_server.call("StructuredOutput", **answer)
        return model_server.say(json.dumps(answer))

    def file(self, name: str) -> str | None:
        """A file of the worktree; None when it does not exist."""
        path = self.host.worktree / name
        return path.read_text() if path.exists() else None

    def quiet(self, requests: int) -> None:
        """What every test ends with: the model was asked so often, as foreseen, and nothing is left running."""
        assert self.model.left() == 0
        self.quiet_for_now(requests)

    def quiet_for_now(self, requests: int) -> None:
        """As `quiet`, in the middle of the script."""
        assert self.model.unforeseen == []
        assert len(self.model.requests) == requests
        assert processes_in(self.host.worktree) == []


def backend_of(cli: clis.Cli, url: str, **settings: Any) -> port.AgentBackend:
    if cli.program == "claude":
        return claude.ClaudeBackend(claude.ClaudeSettings(sandboxed=True, **{"max_retries": 2, **settings}))
    facts = {"base_url": f"{url}/v1", "request_retries": 1, "stream_retries": 1, **settings}
    return codex.CodexBackend(codex.CodexSettings(**facts))


@asynccontextmanager
async def standing(cli: clis.Cli, folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """A stage with the scripted model up; the model's requests end with the context."""
    programs = cli.folder()
    wire = servers_messages.Messages() if cli.program == "claude" else servers_responses.Responses()
    async with model_server.serving(wire) as model:
        backend = backend_of(cli, model.url, **settings)
        environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        if cli.program == "claude":
            environment |= {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": model.url}
        else:
            environment |= {"OPENAI_API_KEY": KEY}
        found = await asyncio.to_thread(backend.discover, environment)
        assert found.ready, found.why_not
        yield Stage(Host.at(folder), cli, backend, environment, model, found)

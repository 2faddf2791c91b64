"""An agent host in a temporary directory: real processes, a script for the agent, a clone with one commit."""

import json
import os
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activities import agent_turn, artifact_store, rooms
from domain import agent, redaction
from integrations.agent import scripted
from sandbox import proc, unconfined

RUN = "issue/acme/api/7"
GIT = ("git", "-c", "user.name=T", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main")
OWN_CONFIGURATION = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
"""What whoever runs the tests has told git (to sign commits, say) is not told to these repositories."""


@dataclass(frozen=True)
class Host:
    """One host and the worktree of one run."""

    state: Path
    worktree: Path
    script: Path

    @classmethod
    def at(cls, folder: Path) -> "Host":
        worktree = folder / "state" / "worktrees" / "w" / "repo"
        worktree.mkdir(parents=True)
        (worktree / "README.md").write_text("hello\n")
        for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "begin")):
            subprocess.run([*GIT, *arguments], cwd=worktree, check=True, env={**os.environ, **OWN_CONFIGURATION})
        return cls(folder / "state", worktree, folder / "script.json")

    def play(self, *turns: list[dict[str, Any]]) -> None:
        """Write the script: one list of steps a turn."""
        self.script.write_text(json.dumps({"name": "test", "turns": [{"steps": steps} for steps in turns]}))

    def activities(self, environment: dict[str, str] | None = None) -> agent_turn.AgentTurnActivities:
        backend = scripted.ScriptedBackend(scripted.ScriptedSettings(script=self.script))
        return agent_turn.AgentTurnActivities(
            backends={"scripted": backend},
            artifacts=artifact_store.DirectoryStore(self.state / "artifacts"),
            state_dir=self.state,
            confinement=rooms.Confinement(environment or {"PATH": os.environ["PATH"]}, unconfined.Unconfined()),
            redactor=redaction.Redactor(frozenset({"correct-horse-battery"})),
        )

    def request(self, **more: Any) -> agent.TurnRequest:
        session = agent.Session(backend="scripted", id=str(uuid.uuid4()))
        facts: dict[str, Any] = {"run": RUN, "prompt": "do it", "session": session, "worktree": str(self.worktree)}
        return agent.TurnRequest(**{**facts, **more})

    def transcript(self, round_number: int = 1) -> list[dict[str, Any]]:
        text = (self.state / "artifacts" / "runs" / RUN / f"turn-{round_number}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def session_facts(self, request: agent.TurnRequest) -> dict[str, Any]:
        home = rooms.Room.of(self.state, request.run).home
        facts: dict[str, Any] = json.loads((home / ".scripted" / f"{request.session.id}.json").read_text())
        return facts

    def done(self, request: agent.TurnRequest) -> int:
        """Steps of the newest turn that are done and kept; -1 before it has begun."""
        try:
            return int(self.session_facts(request)["turns"][-1]["done"])
        except FileNotFoundError:
            return -1

    def commits(self) -> list[str]:
        done = subprocess.run(
            ["git", "log", "--format=%s"], cwd=self.worktree, check=True, capture_output=True, text=True
        )
        return done.stdout.splitlines()


def processes_in(folder: Path) -> list[int]:
    """Living processes whose working directory is below `folder`: none may be left when a turn has ended."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                where = Path(os.readlink(f"/proc/{name}/cwd"))
            except OSError:
                continue
            if where.is_relative_to(folder) and proc.identity(int(name)):
                found.append(int(name))
    return found

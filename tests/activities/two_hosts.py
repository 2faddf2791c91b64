"""Two agent hosts with a disk each, one forge and one store of artifacts, and the scripted agent on both."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activities import agent_turn, artifact_store, rooms, turn_checkpoint, turn_wip
from domain import agent, redaction, work
from integrations.agent import scripted
from integrations.git import mirror
from sandbox import unconfined
from tests.integrations.git.lab import RUN, Lab

SESSION = agent.Session(backend="scripted", id="11111111-2222-3333-4444-555555555555")


@dataclass
class Host:
    lab: Lab
    name: str
    mirrors: mirror.Mirrors = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.lab.root / f"host-{self.name}"
        self.mirrors = self.lab.host(self.state)
        self.script = self.lab.root / "script.json"
        self.worktree = Path()

    def activities(self, **more: Any) -> agent_turn.AgentTurnActivities:
        redactor = redaction.Redactor(frozenset({"correct-horse-battery"}))
        store = artifact_store.DirectoryStore(self.lab.root / "artifacts")
        pushing = turn_wip.WorkInProgress(self.lab.forge, self.mirrors, redactor)  # type: ignore[arg-type]  # see Lab
        facts: dict[str, Any] = {
            "backends": {"scripted": scripted.ScriptedBackend(scripted.ScriptedSettings(script=self.script))},
            "artifacts": store,
            "state_dir": self.state,
            "confinement": rooms.Confinement({"PATH": os.environ["PATH"]}, unconfined.Unconfined()),
            "redactor": redactor,
            "checkpoints": turn_checkpoint.Checkpoints(store, self.name, pushing),
            "checkpoint_seconds": 0.2,
        }
        return agent_turn.AgentTurnActivities(**{**facts, **more})

    async def prepare(self) -> work.Worktree:
        made = await self.lab.prepare(mirrors=self.mirrors)
        self.worktree = Path(made.path)
        return made

    def request(self, turn: int = 1, **more: Any) -> agent.TurnRequest:
        limits = agent.Limits(stop_grace_seconds=0.5)
        facts = {"run": RUN, "round": turn, "prompt": "do it", "session": SESSION, "limits": limits}
        return agent.TurnRequest(**{**facts, "worktree": str(self.worktree), **more})

    def play(self, *turns: list[dict[str, Any]]) -> None:
        self.script.write_text(json.dumps({"name": "test", "turns": [{"steps": steps} for steps in turns]}))

    def events(self, turn: int) -> list[dict[str, Any]]:
        text = (self.lab.root / "artifacts" / "runs" / RUN / f"turn-{turn}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def note(self) -> turn_checkpoint.Note | None:
        place = self.lab.root / "artifacts" / "runs" / RUN / "checkpoint.json"
        return turn_checkpoint.Note.model_validate_json(place.read_bytes()) if place.exists() else None

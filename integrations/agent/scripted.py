"""The agent that plays a recorded script: the same process path as a real one, no model. For the demo and for tests.

The script is chosen by the operator's settings and the run's name, never by the text of an issue.
"""

import json
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from domain import agent, errors, refs
from integrations.agent import files, port, scripted_cli, streams, verdicts

VERSION: Final = "1.0.0"
_PROGRAM: Final = Path(scripted_cli.__file__)
_KINDS: Final = {
    "session": agent.EventKind.SESSION,
    "text": agent.EventKind.TEXT,
    "tool": agent.EventKind.TOOL,
    "tool_result": agent.EventKind.TOOL_RESULT,
    "cost": agent.EventKind.COST,
    "error": agent.EventKind.ERROR,
    "result": agent.EventKind.RESULT,
}
_OUTCOMES: Final = {
    each.value: each
    for each in (agent.Outcome.FINISHED, agent.Outcome.NEEDS_APPROVAL, agent.Outcome.REFUSED, agent.Outcome.LIMIT)
}


class ScriptedSettings(BaseModel):
    """Where the scripts are: one file for every run, or a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    script: Path | None = None
    """Played by every run; wins over `folder`."""
    folder: Path | None = None
    """Holds `<owner>__<repo>__<number>.json` for single runs and `default.json` for the others."""

    def script_of(self, run: str) -> Path:
        """The script of a run.

        Raises:
            ConfigurationError: there is none.
        """
        candidates = [self.script] if self.script else []
        if self.script is None and self.folder is not None:
            candidates = [self.folder / name for name in (*_names_of(run), "default.json")]
        for candidate in candidates:
            if candidate.is_file():
                return candidate.resolve()
        tried = (
            ", ".join(str(candidate) for candidate in candidates)
            or "FETTLE_SCRIPTED names no file or folder of scripts"
        )
        raise errors.ConfigurationError(
            f"the scripted agent has no script for {run} ({tried}): write one, or name another agent"
        )


@dataclass(frozen=True)
class ScriptedBackend:
    settings: ScriptedSettings = field(default_factory=ScriptedSettings)
    name: str = "scripted"
    pass_environment: tuple[str, ...] = ()

    @property
    def model_api(self) -> port.ModelApi | None:
        return None  # there is no model

    def discover(self, env: Mapping[str, str]) -> port.Discovery:
        if self.settings.script is None and self.settings.folder is None:
            return port.Discovery(why_not="FETTLE_SCRIPTED names no file or folder of scripts")
        return port.Discovery(
            path=str(_PROGRAM), version=VERSION, ready=True, capability=agent.Capability(version=VERSION)
        )

    def new_session(self) -> agent.Session:
        return agent.Session(backend=self.name, id=str(uuid.uuid4()), version=VERSION)

    def prepare(self, home: Path) -> None:
        """Nothing: the script is read where it is."""

    def config_dir(self, home: Path) -> Path:
        return home / scripted_cli.TRANSCRIPTS

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        if not re.fullmatch(r"[0-9A-Za-z-]{8,64}", session.id):
            return None
        return next(iter(files.within(home, [self.config_dir(home) / f"{session.id}.json"])), None)

    def session_files(self, home: Path, session: agent.Session) -> list[Path]:
        found = self.transcript(home, session)
        return [found] if found else []

    def command(
        self,
        request: agent.TurnRequest,
        home: Path,
        found: port.Discovery = port.NOTHING_FOUND,
        access: port.ModelAccess | None = None,
    ) -> port.Command:
        script = self.settings.script_of(request.run)
        argv = [sys.executable, "-I", str(_PROGRAM), "--script", str(script)]
        argv += ["--resume" if request.resume else "--session-id", request.session.id, "--round", str(request.round)]
        if request.answer is not None:
            argv += ["--answer", json.dumps({"id": request.answer.question_id, "allow": request.answer.allow})]
        return port.Command(tuple(argv), stdin=request.prompt.encode(), reads=(script,))

    def parse(self, line: bytes) -> list[agent.Event]:
        value = streams.json_object(line)
        if value is None or value.get("scripted") is not True:
            return []
        kind = _KINDS.get(streams.text_at(value, "type"), agent.EventKind.OTHER)
        result = kind is agent.EventKind.RESULT
        return [
            agent.Event(
                kind=kind,
                text=streams.text_at(value, "tool" if kind is agent.EventKind.TOOL else "text"),
                session_id=streams.text_at(value, "session_id"),
                cost_usd=streams.number_at(value, "cost_usd"),
                outcome=_OUTCOMES.get(streams.text_at(value, "outcome")) if result else None,
                reason=streams.text_at(value, "reason"),
                retryable=value.get("retryable") is not False,
                retry_after_seconds=streams.number_at(value, "retry_after_seconds"),
                tool_id=streams.text_at(value, "tool_id"),
                denials=tuple(streams.texts_at(value, "denials")),
                question=_question(value) if result else None,
            )
        ]

    def fold(
        self, events: Sequence[agent.Event], exit_code: int | None, request: agent.TurnRequest | None = None
    ) -> port.Verdict:
        return verdicts.checked(self._folded(events, exit_code), events, request, chosen=True)

    def _folded(self, events: Sequence[agent.Event], exit_code: int | None) -> port.Verdict:
        last = next((event for event in reversed(events) if event.kind is agent.EventKind.RESULT), None)
        last = verdicts.terminal(events, last)
        cost = next((event.cost_usd for event in reversed(events) if event.cost_usd is not None), None)
        denied = verdicts.denials(events)
        if last is not None and last.outcome is not None and exit_code == 0:
            outcome = last.outcome
            if outcome is agent.Outcome.NEEDS_APPROVAL and last.question is None:
                outcome = agent.Outcome.PROTOCOL_ERROR
            return port.Verdict(outcome, last.text, denials=denied, cost_usd=cost, question=last.question)
        error = next((event for event in reversed(events) if event.kind is agent.EventKind.ERROR), None)
        facts: dict[str, Any] = {"summary": error.text if error else "", "denials": denied, "cost_usd": cost}
        if exit_code in {None, 143}:
            return port.Verdict(agent.Outcome.INTERRUPTED, **facts)
        if exit_code == 0:
            return port.Verdict(agent.Outcome.PROTOCOL_ERROR, **facts)
        if error is None or error.reason == "script":
            return port.Verdict(agent.Outcome.CRASHED, **facts)
        facts |= {
            "reason": error.reason,
            "retryable": error.retryable,
            "retry_after_seconds": error.retry_after_seconds,
        }
        return port.Verdict(agent.Outcome.API_ERROR, **facts)

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        if not resume and "already in use" in stderr:
            return True
        return False if resume and "No conversation found" in stderr else None


def _question(value: dict[str, Any]) -> agent.Question | None:
    asked = value.get("question")
    if not streams.is_object(asked) or not streams.text_at(asked, "id"):
        return None
    return agent.Question(
        id=streams.text_at(asked, "id"), tool=streams.text_at(asked, "tool"), text=streams.text_at(asked, "text")
    )


def _names_of(run: str) -> tuple[str, ...]:
    try:
        issue = refs.Issue.from_workflow_id(run)
    except ValueError:
        return ()  # a run that is no issue's, such as a person's experiment: the default script
    return (f"{issue.repo.owner}__{issue.repo.name}__{issue.number}.json",)


def problem_with(script: Path) -> str:
    """Why this file is no script, as the rest of a sentence; empty when it can be played."""
    try:
        given = json.loads(script.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"cannot be read as JSON ({error})"
    turns = given.get("turns") if isinstance(given, dict) else None
    if not isinstance(turns, list):
        return 'is no JSON object with a list of "turns"'
    for number, turn in enumerate(turns, 1):
        steps = turn.get("steps") if isinstance(turn, dict) else None
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            return f'has no list of "steps" in turn {number}, each an object such as {{"say": "done"}}'
    return ""

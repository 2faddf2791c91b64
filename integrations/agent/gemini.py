"""Gemini CLI behind the agent port, driven headless (prompt on stdin, `-o stream-json`).

Seen on 0.61.0: it starts itself again unless told not to, and a signal to the parent then leaves the child working; it
needs a settings file to take a key; it asks a router model first unless a model is named; it finds a session only from
the same directory. `--skip-trust` lets it work without reading the repository's `.gemini/settings.json`; a file
`.gemini/.env` there is read all the same and could send the key through a proxy of its choice, so such a repository is
refused unless its settings are trusted.

It cannot hold back one call, so `ask_tools` make it plan first (see `wording`).
"""

import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, errors
from integrations.agent import answers, files, gemini_stream, installation, port, programs, verdicts, wording

VERIFIED_MAJORS: Final = frozenset({0})
_NEEDED: Final = ("--output-format", "--session-id", "--resume", "--approval-mode", "--skip-trust")
_KEY: Final = "GEMINI_API_KEY"
_FOREIGN_MODEL: Final = re.compile(r"^(?:claude|sonnet|opus|haiku|gpt|o\d|gemini$|auto$)", re.I)
"""Names of other providers' models, and the ones that would ask a router model first."""
_MODES: Final = {
    agent.Autonomy.FULL: "yolo",
    agent.Autonomy.EDIT: "auto_edit",
    agent.Autonomy.PLAN: "plan",
}
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SESSION_EXISTS: Final = re.compile(r"session id .* already exists", re.I)
_SESSION_UNKNOWN: Final = re.compile(r"invalid session identifier|no previous sessions found", re.I)


class GeminiSettings(BaseModel):
    """How this installation runs Gemini CLI."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = "gemini"
    model: str = Field(default="gemini-2.5-pro", min_length=1)
    """Used where a run names none, or one of another provider."""
    base_url: str = "https://generativelanguage.googleapis.com"
    """The provider's address, without the version."""
    max_attempts: int = Field(default=3, ge=1, le=10)
    """The CLI's own tries of a model request; it waits 6 s and more between two. Small: long waits are durable, outside
    the process."""


@dataclass(frozen=True)
class GeminiBackend:
    settings: GeminiSettings = field(default_factory=GeminiSettings)
    name: str = "gemini"

    @property
    def pass_environment(self) -> tuple[str, ...]:
        return (_KEY, "HTTPS_PROXY", "NO_PROXY")

    @property
    def model_api(self) -> port.ModelApi | None:
        return port.ModelApi(self.settings.base_url, (_KEY,), header="x-goog-api-key")

    def discover(self, env: Mapping[str, str]) -> port.Discovery:
        path = programs.in_path(self.settings.program, env)
        if path is None:
            return installation.missing(self.settings.program, "Gemini CLI")
        if not env.get(_KEY):
            return installation.without_key(path, _KEY)
        return installation.tried(path, ("--help",), env, needed=_NEEDED, verified_majors=VERIFIED_MAJORS)

    def new_session(self) -> agent.Session:
        return agent.Session(backend=self.name, id=str(uuid.uuid4()))

    def prepare(self, home: Path) -> None:
        files.folder(self.config_dir(home))

    def config_dir(self, home: Path) -> Path:
        return home / ".gemini"

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        if not _UUID.fullmatch(session.id):
            return None
        found = (self.config_dir(home) / "tmp").glob(f"*/chats/session-*-{session.id[:8]}.jsonl")
        return next((path for path in files.within(home, found) if _is_of(path, session.id)), None)

    def session_files(self, home: Path, session: agent.Session) -> list[Path]:
        found = self.transcript(home, session)
        if found is None:
            return []
        # Which directory is which project; without it the conversation is not looked for where it is.
        beside = [self.config_dir(home) / "projects.json", found.parent.parent / ".project_root"]
        return [found, *files.within(home, beside)]

    def command(
        self,
        request: agent.TurnRequest,
        home: Path,
        found: port.Discovery = port.NOTHING_FOUND,
        access: port.ModelAccess | None = None,
    ) -> port.Command:
        """Raises ConfigurationError when the repository would set the CLI's environment and may not."""
        _refuse_foreign_environment(request)
        autonomy = agent.Autonomy.PLAN if wording.plans_first(request) else request.autonomy
        foreign = not request.model or _FOREIGN_MODEL.match(request.model)
        argv = [found.path or self.settings.program, "--output-format", "stream-json"]
        argv += ["--approval-mode", _MODES[autonomy], "--extensions", "none"]
        argv += ["--model", self.settings.model if foreign else request.model]
        argv += ["--resume" if request.resume else "--session-id", request.session.id]
        env = {
            "GEMINI_CLI_NO_RELAUNCH": "true",
            "GOOGLE_GEMINI_BASE_URL": access.base_url if access else self.settings.base_url,
        }
        if access is not None:
            env[_KEY] = access.placeholder
        if request.trust_repository_settings:
            env["GEMINI_CLI_TRUST_WORKSPACE"] = "true"
        else:
            argv.append("--skip-trust")
        config = self.config_dir(home)
        files.folder(config)
        # Both anew for every process: the agent could have rewritten them, and the CLI reads such an `.env` as well.
        files.replace(config / "settings.json", json.dumps(self._own_settings(request, autonomy)).encode())
        files.replace(config / ".env", b"")
        return port.Command(tuple(argv), env, answers.asked(wording.two_phase_prompt(request), request).encode())

    def parse(self, line: bytes) -> list[agent.Event]:
        return gemini_stream.parse(line)

    def fold(
        self, events: Sequence[agent.Event], exit_code: int | None, request: agent.TurnRequest | None = None
    ) -> port.Verdict:
        verdict = wording.plan_question(gemini_stream.fold(events, exit_code), request)
        return verdicts.checked(verdict, events, request, chosen=True)

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        if not resume and _SESSION_EXISTS.search(stderr):
            return True
        return False if resume and _SESSION_UNKNOWN.search(stderr) else None

    def _own_settings(self, request: agent.TurnRequest, autonomy: agent.Autonomy) -> dict[str, Any]:
        servers = {
            each.name: {"command": each.command, "args": list(each.args), "env": each.env, "trust": True}
            for each in request.mcp_servers
        }
        found: dict[str, Any] = {
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
            "general": {"disableAutoUpdate": True, "maxAttempts": self.settings.max_attempts},
            "advanced": {"ignoreLocalEnv": True},
            "mcpServers": servers,
        }
        if not request.trust_repository_settings:
            found["hooksConfig"] = {"enabled": False}
        if request.allowed_tools and autonomy is agent.Autonomy.EDIT:
            found["tools"] = {"allowed": list(request.allowed_tools)}
        if request.limits.model_turns is not None:
            found["model"] = {"maxSessionTurns": request.limits.model_turns}
        return found


def _refuse_foreign_environment(request: agent.TurnRequest) -> None:
    if not request.trust_repository_settings and os.path.lexists(os.path.join(request.worktree, ".gemini", ".env")):
        raise errors.ConfigurationError(
            f"the worktree of {request.run} has a .gemini/.env, Gemini CLI would set its environment from it, but "
            "the policy does not trust the repository's agent settings: remove the file, or trust them"
        )


def _is_of(path: Path, session: str) -> bool:
    """Whether the CLI's own first line names the session; the file's name has its first eight digits only."""
    try:
        with path.open("rb") as file:
            return session.encode() in file.readline(4096)
    except OSError:
        return False

"""Claude Code behind the agent port, driven headless (`claude -p`) with its JSON stream.

Seen on 2.1.197 and 2.1.328: a repository's own settings can run hooks and redirect the API key, so only the user's
settings are read; as root the bypass mode is refused unless a sandbox is declared; a session id can be chosen, and one
that has a transcript can only be resumed.
"""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, errors
from integrations.agent import claude_stream, files, port

_PERMISSION_MODES: Final = ("acceptEdits", "bypassPermissions", "default", "dontAsk", "plan")
_SESSION_EXISTS: Final = re.compile(r"already in use", re.IGNORECASE)
_SESSION_UNKNOWN: Final = re.compile(r"no conversation found", re.IGNORECASE)


class ClaudeSettings(BaseModel):
    """How this installation runs Claude Code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = "claude"
    permission_mode: str = Field(default="bypassPermissions", pattern=f"^({'|'.join(_PERMISSION_MODES)})$")
    """Nobody can answer a prompt, so what a mode would ask about, it denies. `acceptEdits` cannot run tests."""
    sandboxed: bool = False
    """The operator's statement that agents run in a container or VM of their own. Sets IS_SANDBOX, without which the
    CLI refuses the bypass mode as root."""
    credentials_file: Path | None = None
    """The operator's login (`.credentials.json`); copied into a run's home before each turn when it is newer, because
    its tokens expire within a day."""
    pass_environment: tuple[str, ...] = (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "HTTPS_PROXY",
        "NO_PROXY",
    )
    max_retries: int = Field(default=3, ge=0, le=10)
    """The CLI's own retries of a model request. Small: long waits are durable, outside the process."""
    max_budget_usd: float | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class ClaudeBackend:
    settings: ClaudeSettings = field(default_factory=ClaudeSettings)
    name: str = "claude"

    @property
    def pass_environment(self) -> tuple[str, ...]:
        return self.settings.pass_environment

    def discover(self, env: Mapping[str, str]) -> port.Discovery:
        path = shutil.which(self.settings.program, path=env.get("PATH", os.defpath))
        if path is None:
            return port.Discovery(
                why_not=f"{self.settings.program} is not in the PATH: install Claude Code on this host"
            )
        if os.geteuid() == 0 and self.settings.permission_mode == "bypassPermissions" and not self.settings.sandboxed:
            return port.Discovery(
                path=path,
                why_not="as root Claude Code refuses the bypass mode: run the agent host as a plain user, or set "
                "FETTLE_CLAUDE_SANDBOXED=true when the host is a sandbox of its own",
            )
        if not self._can_log_in(env):
            return port.Discovery(
                path=path,
                why_not="no login: set ANTHROPIC_API_KEY, or FETTLE_CLAUDE_CREDENTIALS_FILE to an operator's login",
            )
        version = _version(path, env)
        return port.Discovery(
            path=path, version=version, ready=bool(version), why_not="" if version else f"{path} fails"
        )

    def new_session(self) -> agent.Session:
        return agent.Session(backend=self.name, id=str(uuid.uuid4()))

    def prepare(self, home: Path) -> None:
        config = _config_dir(home)
        config.mkdir(parents=True, exist_ok=True, mode=0o700)
        source = self.settings.credentials_file
        if source is None:
            return
        try:
            files.copy_secret_if_newer(source, config / ".credentials.json")
        except OSError as error:
            raise errors.AgentUnavailable(
                f"claude_credentials_file is {source}, it cannot be copied ({error.strerror}): "
                "log in with `claude` as the operator, or correct the path"
            ) from error

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        if not re.fullmatch(r"[0-9a-fA-F-]{36}", session.id):
            return None
        # One folder a working directory, and a run has one: whatever its name, the session's file is the one.
        found = sorted((_config_dir(home) / "projects").glob(f"*/{session.id}.jsonl"))
        return found[0] if found else None

    def command(self, request: agent.TurnRequest, home: Path) -> port.Command:
        argv = [self.settings.program, "-p", "--output-format", "stream-json", "--verbose"]
        argv += ["--permission-mode", self.settings.permission_mode]
        argv += ["--setting-sources", "user", "--strict-mcp-config"]
        argv += ["--resume" if request.resume else "--session-id", request.session.id]
        if request.model:
            argv += ["--model", request.model]
        if self.settings.max_budget_usd is not None:
            argv += ["--max-budget-usd", str(self.settings.max_budget_usd)]
        return port.Command(tuple(argv), quiet_environment(self.settings, home), request.prompt.encode())

    def parse(self, line: bytes) -> list[agent.Event]:
        return claude_stream.parse(line)

    def fold(self, events: Sequence[agent.Event], exit_code: int | None) -> port.Verdict:
        return claude_stream.fold(events, exit_code)

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        said = "\n".join([stderr, *(event.text for event in events if event.kind is agent.EventKind.RESULT)])
        if not resume and _SESSION_EXISTS.search(said):
            return True
        if resume and _SESSION_UNKNOWN.search(said):
            return False
        return None

    def _can_log_in(self, env: Mapping[str, str]) -> bool:
        if self.settings.credentials_file is not None:
            return self.settings.credentials_file.is_file()
        keys = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
        return any(env.get(name) for name in keys if name in self.pass_environment)


def quiet_environment(settings: ClaudeSettings, home: Path) -> dict[str, str]:
    """Switches that keep the CLI to the model's address and to one result a process."""
    env = {
        "CLAUDE_CONFIG_DIR": str(_config_dir(home)),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        "CLAUDE_CODE_MAX_RETRIES": str(settings.max_retries),
        "DISABLE_AUTOUPDATER": "1",
    }
    if settings.sandboxed:
        env["IS_SANDBOX"] = "1"
    return env


def _config_dir(home: Path) -> Path:
    return home / ".claude"


def _version(path: str, env: Mapping[str, str]) -> str:
    """The CLI's version, asked with nothing but a PATH; empty when it does not answer."""
    try:
        answer = subprocess.run(
            [path, "--version"],
            env={"PATH": env.get("PATH", os.defpath), "HOME": "/nonexistent"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    words = answer.stdout.decode("utf-8", "replace").split()
    return words[0] if words else ""

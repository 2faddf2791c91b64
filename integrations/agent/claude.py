"""Claude Code behind the agent port, driven headless (`claude -p`) with its JSON stream.

Seen on 2.1.197 and 2.1.328: settings of a repository can run hooks and redirect the API key, those in the home are the
agent's to write, so neither is read; as root the bypass mode is refused unless a sandbox is declared; a session id can
be chosen, and one that has a transcript can only be resumed.
"""

import hashlib
import json
import os
import re
import shlex
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, errors
from integrations.agent import claude_hook, claude_stream, files, port, programs, streams, verdicts, wording

VERIFIED_MAJORS: Final = frozenset({2})
_PERMISSION_MODES: Final = ("acceptEdits", "bypassPermissions", "default", "dontAsk", "plan")
_SESSION_EXISTS: Final = re.compile(r"already in use", re.IGNORECASE)
_SESSION_UNKNOWN: Final = re.compile(r"no conversation found", re.IGNORECASE)
_NATIVE: Final = tuple(
    f"{folder}claude-code-linux-{{arch}}{libc}/claude"
    for folder in ("", "node_modules/@anthropic-ai/")
    for libc in ("", "-musl")
)
_NEEDED: Final = ("--setting-sources", "--strict-mcp-config", "--settings", "--session-id")
"""Without these a repository could choose what runs, or a retry would not know its session."""
_OPTIONAL: Final = ("--json-schema", "--max-budget-usd", "--mcp-config")
_WRITING_TOOLS: Final = "Edit,Write,NotebookEdit"
_SERVERS: Final = "fettle-servers.json"
_AGENTS_TO_WRITE: Final = (".claude.json", "settings.json", "settings.local.json", "backups", _SERVERS)
"""Files of the home that the CLI would obey, whatever its sources: their `env` decides where the key goes. It makes the
first one anew for each process, and we the last one."""
_GO_ON: Final = "Continue."
_HOOK: Final = Path(claude_hook.__file__)
_PLAIN_TOOL: Final = re.compile(r"^\w+$")


class ClaudeSettings(BaseModel):
    """How this installation runs Claude Code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = "claude"
    api_url: str = "https://api.anthropic.com"
    """Where a proxy that holds the key sends the requests."""
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

    @property
    def model_api(self) -> port.ModelApi | None:
        if self.settings.credentials_file is not None:
            return None  # a login is refreshed by the CLI itself
        return port.ModelApi(self.settings.api_url, ("ANTHROPIC_API_KEY",), header="x-api-key")

    def discover(self, env: Mapping[str, str]) -> port.Discovery:
        found = programs.in_path(self.settings.program, env)
        if found is None:
            return port.Discovery(
                why_not=f"{self.settings.program} is not in the PATH: install Claude Code on this host"
            )
        path = programs.native(found, _NATIVE)
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
        try:
            probe = programs.probe(path, ("--help",), env)
        except programs.NoAnswer as error:
            return port.Discovery(path=path, why_not=str(error))
        capability = probe.capability(VERIFIED_MAJORS, _OPTIONAL)
        if missing := [switch for switch in _NEEDED if switch not in probe.switches]:
            return port.Discovery(
                path=path,
                version=probe.version,
                capability=capability,
                why_not=f"{path} is {probe.version} and does not know {', '.join(missing)}: install a newer release",
            )
        return port.Discovery(path=path, version=probe.version, ready=True, capability=capability)

    def new_session(self) -> agent.Session:
        return agent.Session(backend=self.name, id=str(uuid.uuid4()))

    def prepare(self, home: Path) -> None:
        config = self.config_dir(home)
        files.folder(config)
        for name in _AGENTS_TO_WRITE:
            files.remove(config / name)
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

    def config_dir(self, home: Path) -> Path:
        return home / ".claude"

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        if not re.fullmatch(r"[0-9a-fA-F-]{36}", session.id):
            return None
        # One folder a working directory, and a run has one: whatever its name, the session's file is the one.
        found = (self.config_dir(home) / "projects").glob(f"*/{session.id}.jsonl")
        return next(iter(files.within(home, found)), None)

    def session_files(self, home: Path, session: agent.Session) -> list[Path]:
        found = self.transcript(home, session)
        if found is None:
            return []
        return [found, *files.within(home, found.with_suffix("").rglob("*"))]

    def command(
        self,
        request: agent.TurnRequest,
        home: Path,
        found: port.Discovery = port.NOTHING_FOUND,
        access: port.ModelAccess | None = None,
    ) -> port.Command:
        argv = [found.path or self.settings.program, "-p", "--output-format", "stream-json", "--verbose"]
        argv += _rights(request, self.settings.permission_mode)
        argv += ["--resume" if request.resume else "--session-id", request.session.id]
        argv += ["--settings", json.dumps(self._own_settings(request, home))]
        if request.mcp_servers:
            argv += ["--mcp-config", str(self._servers(request, home))]
        if request.model:
            argv += ["--model", request.model]
        if request.answer_schema:
            argv += ["--json-schema", request.answer_schema]
        if request.limits.model_turns is not None:
            argv += ["--max-turns", str(request.limits.model_turns)]
        budgets = [each for each in (self.settings.max_budget_usd, request.limits.cost_usd) if each is not None]
        if budgets:
            argv += ["--max-budget-usd", str(min(budgets))]
        env = quiet_environment(self.settings, home)
        if access is not None:
            env |= {"ANTHROPIC_BASE_URL": access.base_url, "ANTHROPIC_API_KEY": access.placeholder}
        return port.Command(tuple(argv), env, self._words(request, home).encode())

    def parse(self, line: bytes) -> list[agent.Event]:
        return claude_stream.parse(line)

    def fold(
        self, events: Sequence[agent.Event], exit_code: int | None, request: agent.TurnRequest | None = None
    ) -> port.Verdict:
        return verdicts.checked(claude_stream.fold(events, exit_code), events, request, chosen=True)

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        said = "\n".join([stderr, *(event.text for event in events if event.kind is agent.EventKind.RESULT)])
        if not resume and _SESSION_EXISTS.search(said):
            return True
        if resume and _SESSION_UNKNOWN.search(said):
            return False
        return None

    def _words(self, request: agent.TurnRequest, home: Path) -> str:
        """Nothing where a held call waits for its answer: words would begin a turn of their own beside it. A call that
        was already let through needs them, the CLI refuses to resume with neither."""
        if request.answer is None or not request.resume:
            return wording.prompt(request)
        transcript = self.transcript(home, request.session)
        if transcript is not None and _waits(transcript, request.answer.question_id):
            return ""
        return wording.prompt(request) or _GO_ON

    def _servers(self, request: agent.TurnRequest, home: Path) -> Path:
        """The policy's tool servers in a file, made anew for every process: their variables may be secrets, and whoever
        is on the host can read a command line."""
        config = self.config_dir(home)
        files.folder(config)
        path = config / _SERVERS
        files.replace(path, json.dumps({"mcpServers": _mcp(request.mcp_servers)}).encode())
        return path

    def _own_settings(self, request: agent.TurnRequest, home: Path) -> dict[str, Any]:
        if not request.ask_tools and request.answer is None:
            return {"disableAllHooks": not request.trust_repository_settings}
        answer = None
        if request.answer is not None:
            word = request.answer
            answer = {"id": word.question_id, "allow": word.allow, "by": word.by, "note": word.note[:2000]}
            answer["unsure"] = word.unsure
        key = hashlib.sha256((request.answer.question_id if request.answer else "").encode()).hexdigest()[:32]
        begun = self.config_dir(home) / "fettle-answers" / key
        config = json.dumps({"ask": list(request.ask_tools), "answer": answer, "begun": str(begun)})
        program = shlex.join([sys.executable, "-I", "-S", str(_HOOK), config])
        hook = {"matcher": _matcher(request), "hooks": [{"type": "command", "command": program, "timeout": 60}]}
        return {"disableAllHooks": False, "hooks": {"PreToolUse": [hook]}}

    def _can_log_in(self, env: Mapping[str, str]) -> bool:
        if self.settings.credentials_file is not None:
            return self.settings.credentials_file.is_file()
        keys = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
        return any(env.get(name) for name in keys if name in self.pass_environment)


def quiet_environment(settings: ClaudeSettings, home: Path) -> dict[str, str]:
    """Switches that keep the CLI to the model's address and to one result a process."""
    env = {
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        "CLAUDE_CODE_MAX_RETRIES": str(settings.max_retries),
        "DISABLE_AUTOUPDATER": "1",
    }
    if settings.sandboxed:
        env["IS_SANDBOX"] = "1"
    return env


def _rights(request: agent.TurnRequest, full: str) -> list[str]:
    """The permission flags; the CLI forgets them at a resume. Nobody can answer a prompt, so what a mode would ask
    about, it denies."""
    servers = [f"mcp__{server.name}" for server in request.mcp_servers]
    match request.autonomy:
        case agent.Autonomy.FULL:
            rights = ["--permission-mode", full]
            allowed = [*request.allowed_tools, *servers]
        case agent.Autonomy.EDIT:
            rights = ["--permission-mode", "acceptEdits"]
            allowed = [*request.allowed_tools, *servers]
        case agent.Autonomy.PLAN:
            rights = ["--permission-mode", "default", "--disallowedTools", _WRITING_TOOLS]
            allowed = []
    if allowed:
        rights += ["--allowedTools", *allowed]
    if request.trust_repository_settings:
        return [*rights, "--setting-sources", "project,local"]
    return [*rights, "--setting-sources", "", "--strict-mcp-config"]


def _mcp(servers: Sequence[agent.McpServer]) -> dict[str, Any]:
    return {each.name: {"command": each.command, "args": list(each.args), "env": each.env} for each in servers}


def _matcher(request: agent.TurnRequest) -> str:
    """The tools that the hook is run for; every one where a pattern names more than a plain tool. An answered call is
    of a tool that was asked about, perhaps under an older policy."""
    tools = {pattern.partition("(")[0].strip() for pattern in request.ask_tools}
    plain = request.answer is None and all(_PLAIN_TOOL.match(tool) for tool in tools)
    return "|".join(sorted(tools)) if plain else "*"


def _waits(transcript: Path, call: str) -> bool:
    """Whether the call was held back and has no result yet, as the CLI itself has noted it."""
    held = False
    try:
        with transcript.open("rb") as lines:
            for line in lines:
                if call.encode() not in line:
                    continue
                value = streams.json_object(line) or {}
                note = value.get("attachment")
                if streams.is_object(note) and note.get("type") == "hook_deferred_tool":
                    held = held or note.get("toolUseID") == call
                message = value.get("message")
                blocks = streams.objects_at(message, "content") if streams.is_object(message) else []
                if any(block.get("tool_use_id") == call for block in blocks):
                    return False
    except OSError:
        return False
    return held

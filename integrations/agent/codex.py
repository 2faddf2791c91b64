"""Codex behind the agent port, driven headless (`codex exec --json`).

Seen on 0.169.0: the session id is the CLI's own and stands in its first line; resuming a name that it does not know
starts a new conversation with exit code 0; the sandbox mode is forgotten at a resume; a refused connection is retried
for ever unless that is switched off; with its home below the temporary directory its sandbox fails without a word (a
run's home and temporary directory are neighbours, so this does not happen here).

It cannot hold back one call, so `ask_tools` make it plan first: a read-only run whose plan is the question, and after
a yes a second run of the same session.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent
from integrations.agent import codex_stream, files, installation, port, programs, verdicts, wording

VERIFIED_MAJORS: Final = frozenset({0})
_NATIVE: Final = (
    "codex-linux-{arch}/vendor/*/bin/codex",
    "node_modules/@openai/codex-linux-{arch}/vendor/*/bin/codex",
    "vendor/*/codex/codex",
)
_NEEDED: Final = ("--json", "--ignore-user-config", "--disable", "--sandbox")
"""Without these an agent could rewrite what the next turn runs, or a lost network would hang it for ever."""
_OPTIONAL: Final = ("--output-schema", "--ignore-rules")
_PROVIDER: Final = "fettle"
_CONFIGURATION: Final = "config.toml"
"""The user's own, in the CLI's home."""
_QUIET: Final = (
    "analytics.enabled=false",
    "features.plugins=false",
    "features.apps=false",
    "features.remote_plugin=false",
    "check_for_update_on_startup=false",
)
_SANDBOXES: Final = {
    agent.Autonomy.FULL: "danger-full-access",
    agent.Autonomy.EDIT: "workspace-write",
    agent.Autonomy.PLAN: "read-only",
}
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SESSION_UNKNOWN: Final = re.compile(r"no rollout found|failed to (?:load|parse|read) rollout|empty session file", re.I)


class CodexSettings(BaseModel):
    """How this installation runs Codex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = "codex"
    base_url: str = "https://api.openai.com/v1"
    """The provider's address, `/v1` included. It must speak the Responses protocol."""
    env_key: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")
    """Variable of the host's environment that holds the provider's key. The agent's commands do not see it."""
    request_retries: int = Field(default=3, ge=0, le=10)
    stream_retries: int = Field(default=3, ge=0, le=10)
    """The CLI's own retries, multiplied with those of a request. Small: long waits are durable, outside the process."""
    idle_seconds: float = Field(default=300, ge=1)
    """A stream of the model that is silent for longer is asked for again."""


@dataclass(frozen=True)
class CodexBackend:
    settings: CodexSettings = field(default_factory=CodexSettings)
    name: str = "codex"

    @property
    def pass_environment(self) -> tuple[str, ...]:
        return (self.settings.env_key, "HTTPS_PROXY", "NO_PROXY")

    @property
    def model_api(self) -> port.ModelApi | None:
        return port.ModelApi(self.settings.base_url, (self.settings.env_key,), header="authorization", prefix="Bearer ")

    def discover(self, env: Mapping[str, str]) -> port.Discovery:
        found = programs.in_path(self.settings.program, env)
        if found is None:
            return installation.missing(self.settings.program, "Codex")
        path = programs.native(found, _NATIVE)
        if not env.get(self.settings.env_key):
            return installation.without_key(path, self.settings.env_key)
        return installation.tried(
            path,
            ("exec", "--help"),
            env,
            needed=_NEEDED,
            verified_majors=VERIFIED_MAJORS,
            optional=_OPTIONAL,
        )

    def new_session(self) -> agent.Session:
        return agent.Session(backend=self.name)

    def prepare(self, home: Path) -> None:
        config = self.config_dir(home)
        files.folder(config)
        files.remove(config / _CONFIGURATION)

    def config_dir(self, home: Path) -> Path:
        return home / ".codex"

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        if not _UUID.fullmatch(session.id):
            return None  # any other name would be a new conversation to the CLI
        found = (self.config_dir(home) / "sessions").glob(f"*/*/*/rollout-*-{session.id}.jsonl")
        return next(reversed(files.within(home, found)), None)

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
        argv = [found.path or self.settings.program, "exec", "--json", "--skip-git-repo-check"]
        if request.mcp_servers:
            self._write_servers(request, home)
        else:
            argv.append("--ignore-user-config")
        argv += ["--disable", "unbounded_connection_retries", "--sandbox", _SANDBOXES[_autonomy(request)]]
        if not request.trust_repository_settings and "--ignore-rules" in found.capability.flags:
            argv.append("--ignore-rules")
        for setting in self._configuration(request, access):
            argv += ["-c", setting]
        if request.model:
            argv += ["--model", request.model]
        if request.answer_schema:
            path = self.config_dir(home) / "fettle-answer-schema.json"
            files.replace(path, request.answer_schema.encode())
            argv += ["--output-schema", str(path)]
        argv += ["resume", request.session.id, "-"] if request.resume else ["-"]
        env = {"CODEX_HOME": str(self.config_dir(home))}
        if access is not None:
            env[self.settings.env_key] = access.placeholder
        return port.Command(tuple(argv), env, wording.two_phase_prompt(request).encode())

    def parse(self, line: bytes) -> list[agent.Event]:
        return codex_stream.parse(line)

    def fold(
        self, events: Sequence[agent.Event], exit_code: int | None, request: agent.TurnRequest | None = None
    ) -> port.Verdict:
        verdict = codex_stream.fold(events, exit_code)
        verdict = wording.plan_question(verdict, request)
        return verdicts.checked(verdict, events, request, chosen=False)

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        return False if resume and _SESSION_UNKNOWN.search(stderr) else None

    def _configuration(self, request: agent.TurnRequest, access: port.ModelAccess | None) -> list[str]:
        """Everything but tool servers by `-c`, which wins over any file: one in the home is the agent's to rewrite."""
        provider = {
            "name": _PROVIDER,
            "base_url": access.base_url if access else self.settings.base_url,
            "env_key": self.settings.env_key,
            "wire_api": "responses",
            "request_max_retries": self.settings.request_retries,
            "stream_max_retries": self.settings.stream_retries,
            "stream_idle_timeout_ms": int(self.settings.idle_seconds * 1000),
        }
        found = [
            *_QUIET,
            f'model_provider="{_PROVIDER}"',
            f"model_providers.{_PROVIDER}={_toml(provider)}",
            f"shell_environment_policy.exclude={_toml([self.settings.env_key])}",
            "sandbox_workspace_write.exclude_slash_tmp=true",
        ]
        if request.trust_repository_settings:
            found.append(f"projects.{_toml(request.worktree)}.trust_level={_toml('trusted')}")
        return found

    def _write_servers(self, request: agent.TurnRequest, home: Path) -> None:
        """The policy's tool servers as the whole of the user's configuration, made anew for every process: their
        variables may be secrets, and whoever is on the host can read a command line. What the agent had put there is
        gone with it, and so is its trust in hooks of its own, which that file would keep."""
        config = self.config_dir(home)
        files.folder(config)
        lines = ["[mcp_servers]"]
        for server in request.mcp_servers:
            facts = {"command": server.command, "args": list(server.args), "env": server.env}
            facts["default_tools_approval_mode"] = "approve"  # nobody can be asked; the policy named the server
            lines.append(f"{server.name} = {_toml(facts)}")
        files.replace(config / _CONFIGURATION, "\n".join([*lines, ""]).encode())


def _autonomy(request: agent.TurnRequest) -> agent.Autonomy:
    return agent.Autonomy.PLAN if wording.plans_first(request) else request.autonomy


def _toml(value: object) -> str:
    """An inline value of TOML; its basic strings take the escapes that JSON writes."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_toml(str(key))}={_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

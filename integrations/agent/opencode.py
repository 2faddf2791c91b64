"""opencode behind the agent port, driven headless (`opencode run`, prompt on stdin).

Seen on 1.18.33: the session id is the CLI's own and stands in its first line; a session is found only from the
directory that it was started in, elsewhere the CLI hangs; a failing provider is asked again without an end and without
a word, so only the turn's own limits stop it. What a call may do is a rule of the configuration: a rule that says `ask`
would end the process, so here a call is allowed or denied.

No switch keeps it from running the plugins of a repository (`.opencode/plugin`, or named in `opencode.json`): a
repository with such files is refused unless its settings are trusted. `ask_tools` make it plan first (see `wording`).
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, errors
from integrations.agent import answers, files, installation, opencode_stream, port, programs, verdicts, wording

VERIFIED_MAJORS: Final = frozenset({1})
_NEEDED: Final = ("--format", "--session", "--pure")
_NATIVE: Final = tuple(
    f"{folder}opencode-linux-{{arch}}{build}/bin/opencode"
    for folder in ("", "node_modules/")
    for build in ("", "-baseline", "-musl", "-baseline-musl")
)
_PROVIDER: Final = "fettle"
_READING: Final = ("read", "grep", "glob", "list", "todoread", "todowrite")
_PATTERN: Final = re.compile(r"(?P<tool>[\w*-]+)(?:\((?P<pattern>.+)\))?")
_SESSION: Final = re.compile(r"ses_[0-9A-Za-z]{8,64}")
_SESSION_UNKNOWN: Final = re.compile(r"session not found", re.I)
_SERVERS: Final = "fettle-servers.json"
_REPOSITORY_SETTINGS: Final = (".opencode", "opencode.json", "opencode.jsonc")


class OpencodeSettings(BaseModel):
    """How this installation runs opencode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = "opencode"
    model: str = ""
    """With `base_url` the provider's name of the model; without, `provider/model` of a provider that opencode knows."""
    base_url: str = ""
    """A provider of your own that speaks chat completions, `/v1` included, such as a model on your machines."""
    env_key: str = Field(default="", pattern=r"^([A-Z][A-Z0-9_]*)?$")
    """Variable of the host's environment that holds the provider's key; empty: it needs none."""


@dataclass(frozen=True)
class OpencodeBackend:
    settings: OpencodeSettings = field(default_factory=OpencodeSettings)
    name: str = "opencode"

    @property
    def pass_environment(self) -> tuple[str, ...]:
        key = (self.settings.env_key,) if self.settings.env_key else ()
        return (*key, "HTTPS_PROXY", "NO_PROXY")

    @property
    def model_api(self) -> port.ModelApi | None:
        if not self.settings.base_url or not self.settings.env_key:
            return None
        return port.ModelApi(self.settings.base_url, (self.settings.env_key,), header="authorization", prefix="Bearer ")

    def discover(self, env: Mapping[str, str]) -> port.Discovery:
        found = programs.in_path(self.settings.program, env)
        if found is None:
            return installation.missing(self.settings.program, "opencode")
        path = programs.native(found, _NATIVE)
        if not self.settings.model:
            return port.Discovery(path=path, why_not="FETTLE_OPENCODE__MODEL names no model: set it")
        if self.settings.env_key and not env.get(self.settings.env_key):
            return installation.without_key(path, self.settings.env_key)
        return installation.tried(path, ("run", "--help"), env, needed=_NEEDED, verified_majors=VERIFIED_MAJORS)

    def new_session(self) -> agent.Session:
        return agent.Session(backend=self.name)

    def prepare(self, home: Path) -> None:
        """Nothing: everything is given by the environment and one file, for every process anew."""

    def config_dir(self, home: Path) -> Path:
        return home / ".local" / "share" / "opencode"

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        """The database that holds every conversation of the run; whether this one is in it, the CLI says."""
        if not _SESSION.fullmatch(session.id):
            return None
        return next(iter(files.within(home, [self.config_dir(home) / "opencode.db"])), None)

    def session_files(self, home: Path, session: agent.Session) -> list[Path]:
        found = self.transcript(home, session)
        # What was written last is in the write-ahead log until a process folds it in.
        return files.within(home, [found, found.with_name("opencode.db-wal")]) if found else []

    def command(
        self,
        request: agent.TurnRequest,
        home: Path,
        found: port.Discovery = port.NOTHING_FOUND,
        access: port.ModelAccess | None = None,
    ) -> port.Command:
        """Raises ConfigurationError when the repository has settings for opencode that may not take effect."""
        _refuse_foreign_settings(request)
        argv = [found.path or self.settings.program, "run", "--format", "json", "--model", self._model(request)]
        # Without a title the model is asked for one.
        argv += ["--session", request.session.id] if request.resume else ["--title", "Fettle"]
        env = {
            "OPENCODE_CONFIG": str(self._servers(request, home)),
            "OPENCODE_CONFIG_CONTENT": json.dumps(self._configuration(request, access)),
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        }
        if not request.trust_repository_settings:
            argv.append("--pure")
            env["OPENCODE_DISABLE_PROJECT_CONFIG"] = "1"
        if access is not None and self.settings.env_key:
            env[self.settings.env_key] = access.placeholder
        return port.Command(tuple(argv), env, answers.asked(wording.two_phase_prompt(request), request).encode())

    def parse(self, line: bytes) -> list[agent.Event]:
        return opencode_stream.parse(line)

    def fold(
        self, events: Sequence[agent.Event], exit_code: int | None, request: agent.TurnRequest | None = None
    ) -> port.Verdict:
        verdict = wording.plan_question(opencode_stream.fold(events, exit_code), request)
        return verdicts.checked(verdict, events, request, chosen=False)

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        return False if resume and _SESSION_UNKNOWN.search(stderr) else None

    def _model(self, request: agent.TurnRequest) -> str:
        """A run's model counts where it is spelled `provider/model`; names such as `sonnet` are another CLI's."""
        if "/" in request.model:
            return request.model
        return f"{_PROVIDER}/{self.settings.model}" if self.settings.base_url else self.settings.model

    def _servers(self, request: agent.TurnRequest, home: Path) -> Path:
        """The policy's tool servers in a file, made anew for every process: their variables may be secrets, and the
        agent's commands inherit the environment."""
        servers = {
            each.name: {
                "type": "local",
                "command": [each.command, *each.args],
                "environment": each.env,
                "enabled": True,
            }
            for each in request.mcp_servers
        }
        path = home / _SERVERS  # at the top, where no link of the agent's leads elsewhere
        files.replace(path, json.dumps({"mcp": servers}).encode())
        return path

    def _configuration(self, request: agent.TurnRequest, access: port.ModelAccess | None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "autoupdate": False,
            "share": "disabled",
            "permission": _permissions(request),
        }
        if self.settings.base_url:
            options = {"baseURL": access.base_url if access else self.settings.base_url}
            if self.settings.env_key:
                options["apiKey"] = f"{{env:{self.settings.env_key}}}"
            found["provider"] = {
                _PROVIDER: {
                    "npm": "@ai-sdk/openai-compatible",  # the adapter's name; it is part of the CLI, nothing is fetched
                    "options": options,
                    "models": {self.settings.model: {"name": self.settings.model}},
                }
            }
        return found


def _permissions(request: agent.TurnRequest) -> dict[str, Any]:
    """The last rule that matches counts, so the general one comes first."""
    autonomy = agent.Autonomy.PLAN if wording.plans_first(request) else request.autonomy
    if autonomy is agent.Autonomy.FULL:
        return {"*": "allow"}
    found: dict[str, Any] = {"*": "deny", **dict.fromkeys(_READING, "allow")}
    if autonomy is agent.Autonomy.PLAN:
        return found
    found["edit"] = "allow"
    found |= {f"{server.name}_*": "allow" for server in request.mcp_servers}
    for allowed in request.allowed_tools:
        if named := _PATTERN.fullmatch(allowed.strip()):
            tool, pattern = named["tool"], named["pattern"]
            if pattern is None:
                found[tool] = "allow"
            elif found.get(tool) != "allow":
                found.setdefault(tool, {"*": "deny"})[pattern] = "allow"
    return found


def _refuse_foreign_settings(request: agent.TurnRequest) -> None:
    if request.trust_repository_settings:
        return
    present = [name for name in _REPOSITORY_SETTINGS if os.path.lexists(os.path.join(request.worktree, name))]
    if present:
        raise errors.ConfigurationError(
            f"the worktree of {request.run} has {', '.join(present)}, opencode would run the plugins in there, but the "
            "policy does not trust the repository's agent settings: remove it, use another agent, or trust them"
        )

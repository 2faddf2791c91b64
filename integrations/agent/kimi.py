"""Kimi Code behind the agent port, driven headless (`kimi -p PROMPT --output-format stream-json`).

Seen on 2.1.0: the session id is the CLI's own and printed only when the turn has ended, so every session gets a home of
its own under an id chosen here, and the conversation in there is the one; the prompt is read from the command line
only; errors go to stderr only, so both streams share a pipe; MCP servers of a repository are skipped in a folder that
nobody trusted by hand, which also means that a policy cannot trust them.

The Python `kimi-cli` (1.x), which is no longer maintained, ends with success and does nothing: it is refused. No rule
narrows a tool in headless mode, a tool is on or off: below full autonomy `Bash` is off unless it is allowed by its bare
name. `ask_tools` make it plan first (see `wording`).
"""

import json
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent
from integrations.agent import answers, files, installation, kimi_stream, port, programs, verdicts, wording

VERIFIED_MAJORS: Final = frozenset({2})
_NEEDED: Final = ("--prompt", "--output-format", "--session")
_OLD: Final = "--print"
"""A switch of the Python program only."""
_KEY: Final = "KIMI_API_KEY"
_MODEL: Final = "fettle"
_PACKAGES: Final = "node_modules"
_ONE_PIPE: Final = 'exec "$0" "$@" 2>&1'
_COMMANDS: Final = ("Bash",)
_WRITING: Final = (
    *("Bash", "Write", "Edit", "Agent", "AgentSwarm", "TaskStop", "CronCreate", "CronDelete"),
    *("CreateGoal", "UpdateGoal", "SetGoalBudget", "EnterPlanMode", "ExitPlanMode"),
)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SESSION_UNKNOWN: Final = re.compile(r'session "[^"]*" not found', re.I)
_LONGEST_ARGUMENT: Final = 100_000
"""Bytes. The kernel takes 128 KiB in one argument."""


class KimiSettings(BaseModel):
    """How this installation runs Kimi Code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = "kimi"
    model: str = Field(default="kimi-for-coding", min_length=1)
    """The provider's name of the model, where a run names none; a run's is taken only as `provider/model`."""
    base_url: str = "https://api.kimi.com/coding/v1"
    """The provider's address, `/v1` included."""
    context_tokens: int = Field(default=262_144, ge=1)
    max_attempts: int = Field(default=3, ge=1, le=10)
    """The CLI's own tries of a model request. Small: long waits are durable, outside the process."""


@dataclass(frozen=True)
class KimiBackend:
    settings: KimiSettings = field(default_factory=KimiSettings)
    name: str = "kimi"
    _resumed: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The CLI's own name of the conversation that a process was asked to resume, by session, until its verdict."""

    @property
    def pass_environment(self) -> tuple[str, ...]:
        return (_KEY, "HTTPS_PROXY", "NO_PROXY")

    @property
    def model_api(self) -> port.ModelApi | None:
        return port.ModelApi(self.settings.base_url, (_KEY,), header="authorization", prefix="Bearer ")

    def discover(self, env: Mapping[str, str]) -> port.Discovery:
        path = programs.in_path(self.settings.program, env)
        if path is None:
            return installation.missing(self.settings.program, "Kimi Code")
        if not env.get(_KEY):
            return installation.without_key(path, _KEY)

        def unusable(probe: programs.Probe) -> str:
            if _OLD in probe.switches or not probe.switches & set(_NEEDED):
                return f"{path} is {probe.version}, the kimi-cli that is no longer maintained: install Kimi Code 2"
            return ""

        return installation.tried(
            path, ("--help",), env, needed=_NEEDED, verified_majors=VERIFIED_MAJORS, unusable=unusable
        )

    def new_session(self) -> agent.Session:
        return agent.Session(backend=self.name, id=str(uuid.uuid4()))

    def prepare(self, home: Path) -> None:
        files.folder(self.config_dir(home))

    def config_dir(self, home: Path) -> Path:
        return home / ".kimi-code"

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        if not _UUID.fullmatch(session.id):
            return None
        found = (self.config_dir(home) / session.id / "sessions").glob("*/session_*/agents/main/wire.jsonl")
        # More than one where a session could not be resumed and was begun again: the newest is the conversation.
        return max(files.within(home, found), key=lambda path: path.stat().st_mtime_ns, default=None)

    def session_files(self, home: Path, session: agent.Session) -> list[Path]:
        found = self.transcript(home, session)
        if found is None:
            return []
        own = self.config_dir(home) / session.id
        index = [own / name for name in ("session_index.jsonl", "workspaces.json")]
        return files.within(home, [*found.parents[2].rglob("*"), *index])

    def command(
        self,
        request: agent.TurnRequest,
        home: Path,
        found: port.Discovery = port.NOTHING_FOUND,
        access: port.ModelAccess | None = None,
    ) -> port.Command:
        own = self.config_dir(home) / request.session.id
        files.folder(self.config_dir(home))
        files.folder(own)
        # Both anew for every process: the agent could have rewritten them.
        files.replace(own / "config.toml", self._configuration(request, access).encode())
        files.replace(own / "mcp.json", _mcp(request).encode())
        program = str(Path(found.path).resolve()) if found.path else self.settings.program
        argv = ["sh", "-c", _ONE_PIPE, program, "--output-format", "stream-json"]
        argv += ["--prompt", self._words(request, own)]
        conversation = self.transcript(home, request.session) if request.resume else None
        self._resumed.pop(request.session.id, None)
        if conversation is not None:
            self._resumed[request.session.id] = conversation.parents[2].name
            argv += ["--session", self._resumed[request.session.id]]
        env = {
            "KIMI_CODE_HOME": str(own),
            "KIMI_DISABLE_TELEMETRY": "1",
            "KIMI_CODE_BACKGROUND_PRINT_BACKGROUND_MODE": "exit",
            "KIMI_CODE_NO_AUTO_UPDATE": "1",
        }
        if access is not None:
            env[_KEY] = access.placeholder
        return port.Command(tuple(argv), env, reads=_behind_the_shell(Path(program)))

    def parse(self, line: bytes) -> list[agent.Event]:
        return kimi_stream.parse(line)

    def fold(
        self, events: Sequence[agent.Event], exit_code: int | None, request: agent.TurnRequest | None = None
    ) -> port.Verdict:
        verdict = wording.plan_question(kimi_stream.fold(events, exit_code), request)
        if request is None:
            return verdict
        asked = self._resumed.pop(request.session.id, "")

        def ours(event: agent.Event) -> agent.Event:
            """A new conversation is named by the CLI, in a home where there is no other; one that goes on is known."""
            known = event.session_id and asked in {"", event.session_id}
            return event.model_copy(update={"session_id": request.session.id}) if known else event

        return verdicts.checked(verdict, [ours(event) for event in events], request, chosen=True)

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        said = "\n".join([stderr, *(event.text for event in events if event.kind is agent.EventKind.ERROR)])
        return False if resume and _SESSION_UNKNOWN.search(said) else None

    def _words(self, request: agent.TurnRequest, own: Path) -> str:
        """The prompt, or where it stands when it does not fit into one argument."""
        text = answers.asked(wording.two_phase_prompt(request), request)
        if len(text.encode()) <= _LONGEST_ARGUMENT:
            return text
        path = own / "prompt.md"
        files.replace(path, text.encode())
        return f"Your task is in the file {path}. Read all of it, then do what it says."

    def _configuration(self, request: agent.TurnRequest, access: port.ModelAccess | None) -> str:
        steps = request.limits.model_turns
        lines = [
            f"default_model = {_toml(_MODEL)}",
            "telemetry = false",
            f"[providers.{_MODEL}]",
            'type = "kimi"',
            f"base_url = {_toml(access.base_url if access else self.settings.base_url)}",
            f"api_key_env = {_toml(_KEY)}",
            f"[models.{_MODEL}]",
            f"provider = {_toml(_MODEL)}",
            f"model = {_toml(_model(request.model) or self.settings.model)}",
            f"max_context_size = {self.settings.context_tokens}",
            "[loop_control]",
            f"max_attempts_per_step = {self.settings.max_attempts}",
            *([f"max_steps_per_turn = {steps}"] if steps is not None else []),
            "[tools]",
            f"disabled = [{', '.join(map(_toml, _disabled(request)))}]",
        ]
        return "\n".join(lines) + "\n"


def _behind_the_shell(program: Path) -> tuple[Path, ...]:
    """What a sandbox has to show beside the shell that joins the streams: the program's package, and its Node."""
    if not program.is_absolute():
        return ()
    parts = program.parts
    package = Path(*parts[: parts.index(_PACKAGES) + 1]) if _PACKAGES in parts else program
    node = shutil.which("node") if program.suffix in {".js", ".mjs"} else None
    return (package, Path(node)) if node else (package,)


def _model(wanted: str) -> str:
    provider, _, name = wanted.partition("/")
    return name if provider and name else ""


def _disabled(request: agent.TurnRequest) -> list[str]:
    autonomy = agent.Autonomy.PLAN if wording.plans_first(request) else request.autonomy
    if autonomy is agent.Autonomy.PLAN:
        return [*_WRITING, "mcp__*"]
    if autonomy is agent.Autonomy.FULL:
        return []
    return [tool for tool in _COMMANDS if tool not in request.allowed_tools]


def _mcp(request: agent.TurnRequest) -> str:
    servers = {
        each.name: {"command": each.command, "args": list(each.args), "env": each.env} for each in request.mcp_servers
    }
    return json.dumps({"mcpServers": servers})


def _toml(text: str) -> str:
    """A basic string of TOML takes the escapes that JSON writes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

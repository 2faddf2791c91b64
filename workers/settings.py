"""What an installation is told: environment variables `FETTLE_*` first, then `fettle.toml`, then the defaults here.

A key that nobody reads is refused, in the file and in the environment: a misspelt setting must not be a missing one.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, unquote, urlsplit

import pydantic
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from domain import policy
from integrations.agent.codex import CodexSettings  # the modules' names are fields below
from integrations.agent.gemini import GeminiSettings
from integrations.agent.kimi import KimiSettings
from integrations.agent.opencode import OpencodeSettings
from sandbox import levels
from workers import egress_settings
from workers import settings_sources as sources


def _default_state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "fettle"


AbsolutePath = Annotated[Path, pydantic.AfterValidator(lambda path: path.expanduser().absolute())]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    pydantic.BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given),
]


class ForgeConnection(BaseModel):
    """The forge and who we are there. A `*_file` is read when the settings are loaded; its text then stands in the
    field without `_file`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: str = "github"
    api_url: str = "https://api.github.com"
    git_url: str = ""
    """Address below which repositories are cloned. Empty: derived from `api_url`."""
    token: SecretStr | None = None
    token_file: AbsolutePath | None = None
    app_id: int | None = Field(default=None, gt=0)
    private_key: SecretStr | None = None
    private_key_file: AbsolutePath | None = None
    installation_id: int | None = Field(default=None, gt=0)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _one_identity(cls, given: object) -> object:
        read = sources.read_files(given, ("token", "private_key"), parent="forge")
        if isinstance(read, Mapping):
            tokens = [name for name in ("token_file", "token") if read.get(name)]
            apps = [name for name in ("app_id", "private_key_file", "private_key", "installation_id") if read.get(name)]
            if tokens and apps:
                raise sources.Contradiction((f"forge.{tokens[0]}", f"forge.{apps[0]}"), "name two identities")
        return read


class Settings(BaseSettings):
    """Everything an operator may set. Use `load`, which finds the file and puts every refusal into words.

    Secrets are `SecretStr`: neither `repr` nor a dump shows them.
    """

    model_config = SettingsConfigDict(
        env_prefix=sources.PREFIX,
        env_nested_delimiter=sources.NESTED,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    state_dir: AbsolutePath = Field(default_factory=_default_state_dir)
    store_url: SecretStr = Field(
        default_factory=lambda data: SecretStr(f"sqlite:///{data['state_dir'] / 'fettle.db'}"), validate_default=True
    )
    """`sqlite:////path/fettle.db` or `postgresql://user@host/database`. Use `store_dsn` to connect."""
    store_password: SecretStr | None = None
    """Goes into `store_url`, so that the address may be public and the password a mounted file."""
    store_password_file: AbsolutePath | None = None
    artifacts_dir: AbsolutePath = Field(default_factory=lambda data: data["state_dir"] / "artifacts")
    host_state_dir: AbsolutePath = Field(default_factory=lambda data: data["state_dir"] / "host")
    """Mirrors, worktrees, leases and sessions of the agent host that runs here."""

    approval_mode: policy.ApprovalMode = policy.ApprovalMode.REVIEW_MERGE
    """Counts only when the fleet workflow first starts; from then on the fleet holds the mode (`fettle mode`)."""
    default_agent: str = Field(default="claude", min_length=1)
    scripted: AbsolutePath | None = None
    """File or folder of recorded scripts for the `scripted` agent."""
    judge: Literal["none", "claude", "scripted"] = "none"
    claude_credentials_file: AbsolutePath | None = None
    """Credentials file of the Claude CLI that agents get a copy of. None: ANTHROPIC_API_KEY or another variable of the
    CLI in the agent host's environment has to log it in; a login in the home directory is not used."""

    claude_sandboxed: bool = False
    """Your statement that agents run in a container or VM of their own: with `sandbox` set to `none`, Claude Code works
    as root only with it."""
    codex: CodexSettings = Field(default_factory=CodexSettings)
    gemini: GeminiSettings = Field(default_factory=GeminiSettings)
    kimi: KimiSettings = Field(default_factory=KimiSettings)
    opencode: OpencodeSettings = Field(default_factory=OpencodeSettings)

    sandbox: levels.Name = "bubblewrap"
    """What confines agents, and the commands that verify their work. A host on which it does not hold starts none and
    claims no run. `none` is for agents of your own, and for hosts that are a container or VM for this alone."""
    sandbox_user: str = ""
    """For the level `user`: the name of an account, or a range of uids such as `61000-61063`: one for each run."""
    sandbox_image: str = ""
    """For the level `container`: the image with the agents' programs and the repositories' tool chains."""
    sandbox_engine: Literal["", "podman", "docker"] = ""
    """For the level `container`. Empty: whichever is installed."""
    sandbox_read_only: str = ""
    """Directories that confined programs are shown beside the system's and their own, such as tool chains in /opt;
    absolute paths with `:` between them."""
    sandbox_processes: int = Field(default=2048, ge=0)
    """Processes of one confined program and all that it starts. 0: no limit."""
    sandbox_memory_mebibytes: int = Field(default=8192, ge=0)
    """Memory of one confined program and all that it starts. 0: no limit."""
    sandbox_disk_mebibytes: int = Field(default=20480, ge=0)
    """What a run's directories may grow by while one program runs. 0: no limit."""
    sandbox_file_mebibytes: int = Field(default=2048, ge=1)
    """The largest file that a confined program may write."""
    sandbox_tmp_mebibytes: int = Field(default=1024, ge=1)
    """Size of /tmp in a sandbox that has its own; it lives in memory."""

    forge: ForgeConnection = Field(default_factory=ForgeConnection)
    webhook_secret: SecretStr | None = None
    webhook_secret_file: AbsolutePath | None = None
    web_host: str = Field(default="127.0.0.1", min_length=1)
    web_port: int = Field(default=8090, ge=0, le=65535)
    """0: any free port."""

    egress_allow: egress_settings.Hosts = ()
    """Hosts that agents and verifications may reach beside their model, with commas between them: `host`, `host:port`,
    `*.domain` or `*.domain:port`; 443 without a port. The forge stays closed, even if it is listed."""
    egress_private: egress_settings.Hosts = ()
    """Like `egress_allow`, for hosts of your own network: these may have private or loopback addresses."""
    egress_registries: egress_settings.Registries = Field(default_factory=egress_settings.Registries)
    """Hosts of the package registries, by ecosystem."""
    agents_file: AbsolutePath | None = None
    """TOML file with the agents of the pool (`[[agents]]`, `[[types]]`). It counts until the pool is first changed by
    hand; later `fettle agents` changes it."""
    budget_run_usd: float | None = Field(default=None, ge=0, le=1_000_000)
    """Dollars that one run may spend. This and the other budgets count until one is first changed by hand; later
    `fettle budget` changes them."""
    budget_issue_usd: float | None = Field(default=None, ge=0, le=1_000_000)
    """Dollars that all runs of one issue may spend."""
    budget_repository_day_usd: float | None = Field(default=None, ge=0, le=1_000_000)
    """Dollars that one repository may spend a day (UTC)."""
    budget_day_usd: float | None = Field(default=None, ge=0, le=1_000_000)
    """Dollars that the whole fleet may spend a day (UTC)."""
    budget_turn_usd: float | None = Field(default=None, gt=0, le=1_000_000)
    """Dollars to reserve for a turn of which there is no experience yet. Not set: 2."""
    agent_slots: int = Field(default=2, ge=1, le=256)
    """Runs that one agent host works on at the same time."""
    host_id: str = Field(default="", pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")
    """Name of this agent host and of its task queue; it must be the same after each restart on the same disk, such as
    the name of a StatefulSet's pod. Empty: made once and kept in `host_state_dir`."""
    drain_seconds: float = Field(default=0, ge=0, le=86400)
    """How long the turns of an agent host may go on when it is told to stop. 0: they are interrupted and kept at once,
    and continued by the next start or by another host."""
    checkpoint_seconds: float = Field(default=60, ge=1, le=3600)
    """Longest time that a turn is not kept where another host finds it, although its work or its conversation has
    changed. It is kept soon after each answer, but so rarely that this takes a twentieth of a processor."""
    code_graph_seconds: float = Field(default=60, ge=0, le=600)
    """How long a turn, a review (60 at most) or a verification waits for what the code graph knows; what is not ready
    by then is left out, and said to be missing. 0: the code graph is not asked."""
    code_graph_memory_mebibytes: int = Field(default=1024, ge=0)
    """Memory of the process that reads a repository for it. 0: no limit."""
    code_graph_map_tokens: int = Field(default=2000, ge=200, le=16000)
    """The longest map of the code in an agent's prompt, in tokens of a model, estimated carefully."""
    intake_interval_seconds: float = Field(default=30, ge=1, le=86400)
    ci_poll_seconds: float = Field(default=180, ge=1, le=86400)
    """How often CI is asked when no webhook tells."""
    gate_poll_seconds: float = Field(default=3600, ge=1, le=86400)
    """How often a run that waits at its merge gate reads the forge again when no webhook tells."""
    log_level: LogLevel = "info"
    health_address: str = Field(default="", pattern=r"^$|^[\w.\[\]:-]+:\d{1,5}$")
    """`host:port` where a worker answers GET /healthz (its event loop turns) and /readyz (Temporal answers too).
    Empty: it does not listen."""
    build_id: str = ""
    """Version of the worker deployment. Empty: derived from the installed code."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What `load` found: its own arguments, then the environment, then the file."""
        return (init_settings,)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, given: object) -> object:
        return sources.read_files(given, ("webhook_secret", "store_password"))

    @pydantic.field_validator("sandbox_read_only")
    @classmethod
    def _absolute_places(cls, given: str) -> str:
        relative = [place for place in given.split(":") if place and not place.startswith("/")]
        if relative:
            raise ValueError(f"{relative[0]!r} is no absolute path")
        return given

    @pydantic.model_validator(mode="after")
    def _one_store_password(self) -> "Settings":
        url = self.store_url.get_secret_value()
        given = "store_password_file" if self.store_password_file else "store_password"
        if self.store_password and _password(url):
            raise sources.Contradiction(("store_url", given), "both hold a password")
        if self.store_password and url.startswith("sqlite"):
            raise sources.Contradiction(("store_url", given), "do not fit together (SQLite has no password)")
        return self

    @property
    def store_dsn(self) -> str:
        """`store_url` with `store_password` in it: for `store.engine.open_store`, never for a message."""
        url = self.store_url.get_secret_value()
        if self.store_password is None:
            return url
        parts = urlsplit(url)
        user, _, place = parts.netloc.rpartition("@")
        password = quote(self.store_password.get_secret_value(), safe="")
        return parts._replace(netloc=f"{user}:{password}@{place}").geturl()

    def secrets(self) -> frozenset[str]:
        """Every secret value that these settings hold or point to, for the redactor.

        Raises:
            ConfigurationError: `claude_credentials_file` cannot be read.
        """
        held = (
            self.forge.token,
            self.forge.private_key,
            self.webhook_secret,
            self.store_password,
        )
        values = {secret.get_secret_value() for secret in held if secret is not None}
        if password := _password(self.store_url.get_secret_value()):
            values |= {password, unquote(password)}
        if self.claude_credentials_file is not None:
            values |= set(_long_strings(sources.read_secret(self.claude_credentials_file, "claude_credentials_file")))
        return frozenset(values)


def load(**overrides: object) -> Settings:
    """Settings of this process, from `overrides` (command line options; None: not given), the environment, the file.

    The file is the one FETTLE_CONFIG names, else `fettle.toml` in the state directory when there is one.

    Raises:
        ConfigurationError: an unknown key, a value that is not accepted, two settings that contradict each other, or a
            file that cannot be read; with the key and where it was set.
    """
    return sources.load(Settings, overrides, default_state_dir=_default_state_dir())


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:  # not a URL: opening the store refuses it, in words that do not repeat it
        return None


def _long_strings(text: str) -> Iterator[str]:
    """The strings of a JSON document that are long enough for a token; the whole text when it is no JSON."""
    try:
        todo = [json.loads(text)]
    except ValueError:
        todo = [text]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, str) and len(value) >= 20:
            yield value

"""The port to a coding agent: a command line for a turn, a parser of its output, and a verdict on how the turn ended.

A backend starts nothing. It says what to start, and reads what came of it; confinement, time and retries are the
caller's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from domain import agent


@dataclass(frozen=True)
class Discovery:
    """What was found on this host. `why_not` is a sentence for the operator when `ready` is False."""

    path: str = ""
    """The program that a turn starts: the native binary, where what the PATH has is a wrapper around one."""
    version: str = ""
    ready: bool = False
    why_not: str = ""
    capability: agent.Capability = field(default_factory=agent.Capability)

    @property
    def shown(self) -> str:
        """The version for people; one that this release was not tested with says so."""
        return self.version if self.capability.verified else f"{self.version} (unverified)"


NOTHING_FOUND: Final = Discovery()


@dataclass(frozen=True)
class ModelAccess:
    """How an agent reaches its model when it must not hold the key: a proxy's address that ends up at the provider,
    and a placeholder in the key's place."""

    base_url: str
    placeholder: str = "held-by-the-proxy"


@dataclass(frozen=True)
class ModelApi:
    """What a proxy needs to stand between a CLI and its provider."""

    base_url: str
    """The provider's address, without a path that the CLI adds itself."""
    key_variables: tuple[str, ...]
    """Variables of the host that may hold the key, the first that is set counts. None of them reaches an agent that
    has a `ModelAccess`."""
    header: str
    """The header that carries the key, such as `x-api-key`."""
    prefix: str = ""
    """What stands before the key in that header, such as `Bearer `."""


@dataclass(frozen=True)
class Command:
    """One process to start. `env` is what the backend sets itself; the rest is the sandbox's policy."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    reads: tuple[Path, ...] = ()
    """Files of the operator's that the process is shown beside what every agent is. Never a path that a run's data
    could name."""


@dataclass(frozen=True)
class Verdict:
    """How a process ended, folded from its events and its exit."""

    outcome: agent.Outcome
    summary: str = ""
    """The model's last words, or the error in the CLI's words: for people."""
    reason: str = ""
    """The provider's word for an error, such as `rate_limit`; for `LIMIT` the bound that was hit."""
    denials: tuple[str, ...] = ()
    """Tools that were refused, whatever the outcome."""
    cost_usd: float | None = None
    cost_is_of_session: bool = True
    retryable: bool = False
    retry_after_seconds: float | None = None
    usage: agent.Usage | None = None
    usage_is_of_session: bool = True
    question: agent.Question | None = None
    """The call that waits for a person, with `NEEDS_APPROVAL`."""
    structured: str = ""
    """The answer to `TurnRequest.answer_schema`, as JSON text that was checked against it."""

    @property
    def is_quota(self) -> bool:
        """The provider refuses for a while, whatever is asked."""
        return self.reason in {"rate_limit", "quota", "overloaded", "usage_limit"}

    @property
    def is_credentials(self) -> bool:
        """No retry helps before a person has logged in, paid, or corrected a key."""
        return self.reason in {"authentication_failed", "billing_error", "oauth_org_not_allowed", "permission_error"}


class AgentBackend(Protocol):
    """One agent CLI. Implementations are immutable; a new one is a new module and a line in `registry`."""

    @property
    def name(self) -> str: ...

    @property
    def pass_environment(self) -> tuple[str, ...]:
        """Names of variables that the CLI needs from the host, such as its API key."""
        ...

    @property
    def model_api(self) -> ModelApi | None:
        """What a proxy needs to hold the key in the agent's place; None when this CLI has to hold it itself."""
        ...

    def discover(self, env: Mapping[str, str]) -> Discovery:
        """Find the CLI in the PATH of `env` and say whether a turn could start. Runs it for its version and switches,
        once for each version of the file."""
        ...

    def new_session(self) -> agent.Session:
        """A session that no process has yet. Its id is chosen here where the CLI allows it, else empty: then the first
        event that names one says what it is."""
        ...

    def prepare(self, home: Path) -> None:
        """Put what the CLI needs into the run's home, such as the operator's newest login. Safe to repeat.

        Raises:
            AgentUnavailable: what is needed is missing.
        """
        ...

    def config_dir(self, home: Path) -> Path:
        """Where the CLI keeps its conversations of a run."""
        ...

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        """The file in which the CLI keeps this conversation; None when it has none and must start afresh."""
        ...

    def session_files(self, home: Path, session: agent.Session) -> list[Path]:
        """Every file below `home` that another host needs to resume this conversation; empty when there is none."""
        ...

    def command(
        self,
        request: agent.TurnRequest,
        home: Path,
        found: Discovery = NOTHING_FOUND,
        access: ModelAccess | None = None,
    ) -> Command:
        """The process for this turn; `request.resume` and `request.prompt` are final. May write below `home`.

        With `request.answer` a resumed process continues exactly the call that was asked about; the prompt is then
        used only where the CLI cannot go on without words.

        Args:
            found: What `discover` said. Without it the program is looked up by name, and nothing is known of it.
            access: A proxy that holds the key. None: the key is passed on.
        """
        ...

    def parse(self, line: bytes) -> list[agent.Event]:
        """What one line of output says; empty when it says nothing to us. Never raises: other people's format."""
        ...

    def fold(
        self, events: Sequence[agent.Event], exit_code: int | None, request: agent.TurnRequest | None = None
    ) -> Verdict:
        """The verdict on a process; `exit_code` None when a signal ended it. Success needs the terminal success event
        *and* exit code 0.

        With the `request` that the process got, it also needs the session that was asked for and an answer that fits
        the schema; else it is a `PROTOCOL_ERROR`. So adopt an echoed id only from a process that was not to resume.
        """
        ...

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        """Whether the process failed only because the session exists (answer True) or does not exist (answer False)
        on the CLI's side, contrary to `resume`; None when that was not the reason."""
        ...

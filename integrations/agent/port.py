"""The port to a coding agent: a command line for a turn, a parser of its output, and a verdict on how the turn ended.

A backend starts nothing. It says what to start, and reads what came of it; confinement, time and retries are the
caller's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from domain import agent


@dataclass(frozen=True)
class Discovery:
    """What was found on this host. `why_not` is a sentence for the operator when `ready` is False."""

    path: str = ""
    version: str = ""
    ready: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class Command:
    """One process to start. `env` is what the backend sets itself; the rest is the sandbox's policy."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""


@dataclass(frozen=True)
class Verdict:
    """How a process ended, folded from its events and its exit."""

    outcome: agent.Outcome
    summary: str = ""
    """The model's last words, or the error in the CLI's words: for people."""
    reason: str = ""
    """The provider's word for an error, such as `rate_limit`."""
    denials: tuple[str, ...] = ()
    cost_usd: float | None = None
    cost_is_of_session: bool = True
    retryable: bool = False
    retry_after_seconds: float | None = None

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

    def discover(self, env: Mapping[str, str]) -> Discovery:
        """Find the CLI in the PATH of `env` and say whether a turn could start. May run it once for its version."""
        ...

    def new_session(self) -> agent.Session:
        """A session that no process has yet. Its id is chosen here where the CLI allows it, else empty."""
        ...

    def prepare(self, home: Path) -> None:
        """Put what the CLI needs into the run's home, such as the operator's newest login. Safe to repeat.

        Raises:
            AgentUnavailable: what is needed is missing.
        """
        ...

    def transcript(self, home: Path, session: agent.Session) -> Path | None:
        """The file in which the CLI keeps this conversation; None when it has none and must start afresh."""
        ...

    def command(self, request: agent.TurnRequest, home: Path) -> Command:
        """The process for this turn; `request.resume` and `request.prompt` are final."""
        ...

    def parse(self, line: bytes) -> list[agent.Event]:
        """What one line of output says; empty when it says nothing to us. Never raises: other people's format."""
        ...

    def fold(self, events: Sequence[agent.Event], exit_code: int | None) -> Verdict:
        """The verdict on a process; `exit_code` None when a signal ended it. Success needs the terminal success event
        *and* exit code 0."""
        ...

    def corrected_resume(self, events: Sequence[agent.Event], stderr: str, *, resume: bool) -> bool | None:
        """Whether the process failed only because the session exists (answer True) or does not exist (answer False)
        on the CLI's side, contrary to `resume`; None when that was not the reason."""
        ...

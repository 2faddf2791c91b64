"""What is asked of a coding agent for one turn, and how the turn ended, in words that fit every backend."""

import enum

from pydantic import BaseModel, ConfigDict, Field

from domain import artifacts
from domain.brief import Brief


class Session(BaseModel):
    """A conversation that another process, or another host, can continue.

    `id` is chosen before the start where the CLI allows it, so that a retry knows it.
    """

    model_config = ConfigDict(extra="ignore")

    backend: str
    id: str = ""
    version: str = ""


class Limits(BaseModel):
    """Bounds of one turn, in seconds. Silence and total differ: a long build is silent, a lost process is too."""

    model_config = ConfigDict(extra="ignore")

    silence_seconds: float = 600
    total_seconds: float = 3600
    stop_grace_seconds: float = 5


class Outcome(enum.StrEnum):
    """How a turn ended; decided from the event stream first, the exit code second."""

    FINISHED = "finished"
    REFUSED = "refused"
    LIMIT = "limit"
    API_ERROR = "api_error"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    PROTOCOL_ERROR = "protocol_error"


class EventKind(enum.StrEnum):
    SESSION = "session"
    TEXT = "text"
    TOOL = "tool"
    COST = "cost"
    RETRY = "retry"
    ERROR = "error"
    RESULT = "result"
    OTHER = "other"


class Event(BaseModel):
    """One line of an agent's output. `cost_usd` is a total so far, None when unknown (never 0)."""

    model_config = ConfigDict(extra="ignore")

    kind: EventKind
    text: str = ""
    session_id: str = ""
    cost_usd: float | None = None
    cost_is_of_session: bool = True
    """False: `cost_usd` counts this process only, a resumed session's earlier turns are not in it."""
    outcome: Outcome | None = None
    reason: str = ""
    """The provider's own word for an error, such as `rate_limit`."""
    retryable: bool = False
    retry_after_seconds: float | None = None
    denials: tuple[str, ...] = ()


class TurnRequest(BaseModel):
    """One turn of one session. The prompt is the whole text of this turn, not of the conversation; when it is empty,
    it is rendered from `brief` on the host."""

    model_config = ConfigDict(extra="ignore")

    run: str
    """The run's workflow id: keys the worktree, the session's home, and the artifacts."""
    round: int = 1
    """Counts the turns of a run; with `run` it keys what the turn leaves behind."""
    prompt: str = ""
    brief: Brief | None = None
    session: Session
    resume: bool = False
    """Continue `session` instead of starting it."""
    model: str = ""
    worktree: str
    """Path on the host, as `prepare_worktree` returned it."""
    limits: Limits = Field(default_factory=Limits)


class TurnResult(BaseModel):
    """How the turn ended and what it left. Text in `summary` is the model's: shown to people, never decided upon."""

    model_config = ConfigDict(extra="ignore")

    outcome: Outcome
    session: Session
    summary: str = ""
    denials: tuple[str, ...] = ()
    cost_usd: float | None = None
    """Total of the session so far, None when unknown."""
    turn_cost_usd: float | None = None
    """What this turn, lost attempts included, added to it."""
    seconds: float = 0
    transcript: artifacts.ArtifactRef | None = None
    resumed_after_loss: bool = False
    """The turn was begun by an attempt that was lost, and this attempt continued its session."""


class Progress(BaseModel):
    """The heartbeat of a running turn; the next attempt finds the newest one and continues from it."""

    model_config = ConfigDict(extra="ignore")

    session: Session
    turn: int = 1
    last_commit: str = ""
    cost_usd: float | None = None
    log_offset: int = 0
    launched: bool = False
    """The agent's process was started at least once in this turn, so its session may exist."""

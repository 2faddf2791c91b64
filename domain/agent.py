"""What is asked of a coding agent for one turn, and how the turn ended, in words that fit every backend."""

import enum
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from domain import artifacts, quota
from domain.brief import Brief
from domain.hooks import Hooks  # the module's name is a field below

LONGEST_QUESTION: Final = 4000
"""Characters of a question that a person is shown."""
QUESTION_KEPT: Final = 100_000
"""Characters of one until secrets were taken out: half of a secret is none that is known, so the cut comes after."""
_LONGEST_WAIT: Final = quota.LONGEST_ASKED.total_seconds()


class Session(BaseModel):
    """A conversation that another process, or another host, can continue.

    `id` is chosen before the start where the CLI allows it, so that a retry knows it.
    """

    model_config = ConfigDict(extra="ignore")

    backend: str
    id: str = ""
    version: str = ""
    cwd: str = ""
    """The directory that the CLI was started in; some find a session from there only."""
    config_dir: str = ""
    """Where the CLI keeps the conversation on its host."""
    archive: artifacts.ArtifactRef | None = None
    """What the CLI keeps of the conversation, packed after its newest turn: another host unpacks it and resumes."""


class Limits(BaseModel):
    """Bounds of one turn, in seconds. Silence and total differ: a long build is silent, a lost process is too."""

    model_config = ConfigDict(extra="ignore")

    start_seconds: float = 180
    """From the start of the process to its first line of output, whatever it does meanwhile."""
    silence_seconds: float = 600
    """Without output, work, or a tool call whose answer is still due."""
    total_seconds: float = 3600
    stop_grace_seconds: float = 5
    model_turns: int | None = None
    """Answers of the model; on a hit the tools of the last one have run."""
    cost_usd: float | None = None
    """Of this process. A CLI that can stop by itself overshoots by one answer; the others do not look."""


class Autonomy(enum.StrEnum):
    """What an agent may do by itself inside of its sandbox."""

    FULL = "full"
    """Everything; the sandbox is the wall."""
    EDIT = "edit"
    """Edit files of the worktree; a command that is not allowed by name is denied."""
    PLAN = "plan"
    """Read and answer."""


class McpServer(BaseModel):
    """A tool server that the repository's policy allows; started by the agent's CLI, inside the sandbox."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    command: str = Field(min_length=1)
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)


class Question(BaseModel):
    """An action that policy says a person decides. The process has ended; the call waits in the session."""

    model_config = ConfigDict(extra="ignore")

    id: str
    """The CLI's own id of the call, or one that Fettle gave to a plan."""
    tool: str
    text: str = ""
    """The call in words, redacted and bounded: shown to people, never decided upon."""


class Answer(BaseModel):
    """A person's word on exactly one question."""

    model_config = ConfigDict(extra="ignore")

    question_id: str
    allow: bool
    by: str
    note: str = ""
    unsure: bool = False
    """A turn that had this answer was lost with its host: whether the call was made there, nobody knows."""


class Capability(BaseModel):
    """What the probe of a CLI found before a turn; stored with the run."""

    model_config = ConfigDict(extra="ignore")

    version: str = ""
    verified: bool = True
    """False: a major version that this release was not tested with; every output says so."""
    flags: tuple[str, ...] = ()
    """Optional switches that this version has."""


class Usage(BaseModel):
    """Tokens as the CLI counts them. None is unknown, never zero."""

    model_config = ConfigDict(extra="ignore")

    input_tokens: int | None = None
    """Without those that came from a cache."""
    cached_tokens: int | None = None
    output_tokens: int | None = None


class Outcome(enum.StrEnum):
    """How a turn ended; decided from the event stream first, the exit code second."""

    FINISHED = "finished"
    NEEDS_APPROVAL = "needs_approval"
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
    TOOL_RESULT = "tool_result"
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
    retry_after_seconds: Annotated[float, AfterValidator(lambda asked: min(asked, _LONGEST_WAIT))] | None = None
    """What the provider asked for; never more than its longest window."""
    denials: tuple[str, ...] = ()
    tool_id: str = ""
    """On a TOOL event: the call's id, when a TOOL_RESULT event with the same id tells its end. Until then the call is
    in flight, and silence is no stall. Empty: its end is not told."""
    usage: Usage | None = None
    usage_is_of_session: bool = True
    """False: `usage` counts this process only."""
    question: Question | None = None
    structured: str = ""
    """The answer to a schema, as JSON text."""


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
    autonomy: Autonomy = Autonomy.FULL
    allowed_tools: tuple[str, ...] = ()
    """Tool patterns in the CLI's own spelling that need no question below `Autonomy.FULL`."""
    ask_tools: tuple[str, ...] = ()
    """Tool patterns, such as `Bash(git push*)`, that a person decides: the turn ends with `Outcome.NEEDS_APPROVAL`."""
    answer: Answer | None = None
    """The word on the question that the session waits with; the turn continues exactly that call."""
    mcp_servers: tuple[McpServer, ...] = ()
    trust_repository_settings: bool = False
    """Whether the repository's own agent settings, hooks and MCP files take effect."""
    answer_schema: str = ""
    """JSON Schema that the final answer must satisfy; empty: free text."""
    appendix: str = ""
    """Text of the pool instance, put under a heading of its own after the prompt."""
    hooks: Hooks = Hooks()
    """Scripts of the repository's policy that run before and after the turn, where the agent runs."""
    egress: tuple[str, ...] | None = None
    """Hosts that the agent may reach, out of those that the installation allows. None: all of those."""
    image: str = ""
    """For the sandbox level `container`; empty: the host's default."""
    continuation: bool = False
    """The session goes on and only guidance is said; the task is not repeated."""


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
    question: Question | None = None
    structured: str = ""
    """The answer to `TurnRequest.answer_schema` as JSON text; it fits the schema."""
    capability: Capability = Capability()
    usage: Usage | None = None
    """Of this turn, lost attempts included."""
    wip_sha: str = ""
    """The commit on the run's work-in-progress ref that holds all of the turn's work, pushed before the turn is told
    as ended; empty when there was nothing to push."""
    wip_note: str = ""
    """Why that work is on this host alone, in a sentence; empty when it is not."""
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
    usage: Usage | None = None
    tool: str = ""
    """What the agent does right now, in a few words."""
    wip_sha: str = ""
    """The newest work in progress that was pushed in this turn."""
    launched: bool = False
    """The agent's process was started at least once in this turn, so its session may exist."""

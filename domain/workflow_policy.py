"""What a repository says in its own `WORKFLOW.md`: the contract between the file and a run.

The file is read from the base branch, so whoever may push there decides what stands in it. It may therefore only ask:
`domain.policy.effective` says what becomes of it beside the settings of the operator.
"""

import enum
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, forge, wire
from domain.hooks import Hooks  # `hooks` is a field below

FILE_NAME: Final = "WORKFLOW.md"
FILE_LIMIT: Final = 64 * 1024
"""Bytes of the file: its prompt travels in every request of a run."""
_STATE_LABEL: Final = ("status:", "state:")
OPEN: Final = "open"
CLOSED: Final = "closed"


class Code(enum.StrEnum):
    """What a finding is about; `fettle repo check --json` prints it."""

    MISSING_FILE = "missing_workflow_file"
    UNREADABLE = "workflow_parse_error"
    NOT_A_MAP = "workflow_front_matter_not_a_map"
    UNKNOWN_KEY = "workflow_unknown_key"
    WRONG_VALUE = "workflow_invalid_value"
    TRACKER_KIND = "unsupported_tracker_kind"
    TEMPLATE_UNREADABLE = "template_parse_error"
    TEMPLATE_FAILS = "template_render_error"
    NO_EFFECT = "no_effect"
    """A key of another system that Fettle knows and does not follow: a note, no mistake."""


class Model(BaseModel):
    """Part of a run's state: a later build may know more fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Finding(Model):
    """One thing to say about a file. Lines and columns count from 1; 0 is the file as a whole."""

    code: Code
    line: int = 0
    column: int = 0
    key: str = ""
    sentence: str

    @property
    def is_mistake(self) -> bool:
        """Whether the file cannot be used because of it."""
        return self.code is not Code.NO_EFFECT

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.sentence}"


class Tracker(Model):
    """Which labelled issues become runs, and stay runs."""

    labels: tuple[str, ...] = ()
    """All of them must be on the issue, whatever their case, beside the label that starts runs."""
    exclude_labels: tuple[str, ...] = ()
    """None of them may be."""
    assignee: str = ""
    """Login that must be among the assignees; `@me` is Fettle's own. Empty: anybody or nobody."""
    active_states: tuple[str, ...] = ()
    """Empty: every open issue is active."""
    terminal_states: tuple[str, ...] = ()
    state_limits: dict[str, int] = Field(default_factory=dict)
    """Most runs at once of issues in one state."""

    def state_of(self, labels: Iterable[str], *, is_open: bool = True) -> str:
        """The issue's state in the file's own words. A forge knows open and closed; a label that is named like one of
        the file's states (`In Progress`, also `status: In Progress`) says it more exactly."""
        if not is_open:
            return CLOSED
        known = {*self.active_states, *self.terminal_states, *self.state_limits}
        for label in labels:
            name = normal(label)
            for prefix in _STATE_LABEL:
                name = name.removeprefix(prefix).strip()
            if name in known:
                return name
        return OPEN

    def why_not(self, issue: forge.Issue, me: str) -> str:
        """Why this issue is no work for a run, as the rest of a sentence; empty when it is."""
        held = {normal(label) for label in issue.labels}
        # The claim takes the trigger label off and puts its own on: neither says anything of what the file means.
        for label in self.labels:
            if normal(label) not in {*held, wire.LABEL_TRIGGER}:
                return f"it lacks the label '{label}', which tracker.labels asks for"
        for label in self.exclude_labels:
            if normal(label) in held - {wire.LABEL_TRIGGER, wire.LABEL_IN_PROGRESS}:
                return f"it carries the label '{label}', which tracker.exclude_labels excludes"
        wanted = me if self.assignee == "@me" else self.assignee
        if wanted and wanted.casefold() not in {login.casefold() for login in issue.assignees}:
            return f"it is not assigned to {wanted}, whom tracker.assignee asks for"
        state = self.state_of(issue.labels, is_open=issue.open)
        if state in self.terminal_states:
            return f"its state is '{state}', one of tracker.terminal_states"
        if self.active_states and issue.open and state not in self.active_states:
            return f"its state is '{state}', tracker.active_states are {', '.join(self.active_states)}"
        return ""


class Agent(Model):
    """What the file asks of the agent; None and empty: nothing."""

    backend: str = ""
    model: str = ""
    max_concurrent: int | None = Field(default=None, ge=1)
    max_turns: int | None = Field(default=None, ge=1)
    turn_seconds: float | None = Field(default=None, gt=0)
    silence_seconds: float | None = Field(default=None, gt=0)
    autonomy: agent.Autonomy | None = None
    allowed_tools: tuple[str, ...] = ()
    ask_tools: tuple[str, ...] = ()
    mcp_servers: tuple[agent.McpServer, ...] = ()


class Sandbox(Model):
    """Wishes that can only tighten: the operator's level and list of hosts are the most that a run gets."""

    level: str = ""
    egress: tuple[str, ...] | None = None
    """`host`, `host:port` or the name of a list, out of those that the operator allows; None: all of them."""


LEVELS: Final = ("none", "user", "container", "bubblewrap")
"""Of confinement, the weakest first."""


def confined_enough(level: str, least: str) -> bool:
    """Whether a host with this level may take a run that asks for `least`; empty asks for nothing. A level that this
    build does not know is not trusted."""
    return not least or (level in LEVELS and least in LEVELS and LEVELS.index(level) >= LEVELS.index(least))


class Gates(Model):
    """What a change must pass."""

    verify_command: str = ""
    verify_timeout_seconds: float | None = Field(default=None, gt=0, le=7200)
    approval_mode: str = ""
    merge_method: str = ""


class Source(Model):
    """Which version of the file this is."""

    path: str = FILE_NAME
    branch: str = ""
    commit_sha: str = ""
    blob_sha: str = ""

    def __str__(self) -> str:
        return f"{self.path} ({self.branch} at {self.commit_sha[:9]})" if self.commit_sha else self.path


class IssueFacts(Model):
    """What was true of the issue when the run started, for the template."""

    state: str = OPEN
    assignees: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    skills: tuple[str, ...] = ()


class Workflow(Model):
    """One version of the file, and in a run's policy the snapshot that the run keeps."""

    tracker: Tracker = Tracker()
    poll_seconds: float | None = Field(default=None, gt=0)
    hooks: Hooks = Hooks()
    agent: Agent = Agent()
    sandbox: Sandbox = Sandbox()
    gates: Gates = Gates()
    prompt: str = ""
    """The template; empty: Fettle's own prompt."""
    source: Source = Source()
    problem: str = ""
    """Why the newest version is not this one: it has mistakes, and this is the last one without any."""
    issue: IssueFacts = IssueFacts()

    def brief(self) -> dict[str, object]:
        """What it adds to a `domain.brief.Brief`."""
        return {
            "state": self.issue.state,
            "assignees": self.issue.assignees,
            "created_at": _iso(self.issue.created_at),
            "updated_at": _iso(self.issue.updated_at),
            "skills": self.issue.skills,
            "template": self.prompt,
            "template_source": str(self.source),
        }

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it changes anything."""
        return self.model_copy(update={"source": Source(), "problem": "", "issue": IssueFacts()}) == Workflow()


def _iso(at: datetime | None) -> str:
    return at.isoformat().replace("+00:00", "Z") if at else ""


def normal(name: str) -> str:
    """A label or a state as it is compared: trimmed, in lower case."""
    return " ".join(name.split()).casefold()


def summary(findings: Iterable[Finding], most: int = 3) -> str:
    """The first mistakes in one line."""
    mistakes = [str(finding) for finding in findings if finding.is_mistake]
    more = f" (and {len(mistakes) - most} more)" if len(mistakes) > most else ""
    return "; ".join(mistakes[:most]) + more

"""One issue's run: everything that is known about it. The model is also the continue-as-new input."""

import enum
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import checks, path_leases, refs, work
from domain.agent import Answer, Question, Session
from domain.implement import Handback
from domain.policy import ApprovalMode, RepositoryPolicy
from domain.review import Review
from domain.triage import Triage


class Phase(enum.StrEnum):
    RECEIVED = "received"
    TRIAGED = "triaged"
    BLOCKED = "blocked"
    AWAITING_DISPATCH = "awaiting_dispatch"
    IMPLEMENTING = "implementing"
    PUBLISHING = "publishing"
    REVIEWING = "reviewing"
    AWAITING_CI = "awaiting_ci"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    MERGING = "merging"
    VERIFYING_RECOVERY = "verifying_recovery"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def terminal(self) -> bool:
        return self in {Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED}


AFTER_PUSH = frozenset(
    {
        Phase.PUBLISHING,
        Phase.REVIEWING,
        Phase.AWAITING_CI,
        Phase.AWAITING_APPROVAL,
        Phase.QUEUED,
        Phase.MERGING,
    }
)
"""Phases of runs that have pushed work which is not merged yet. A run that repairs it is not told apart from one that
begins."""


class HoldKind(enum.StrEnum):
    DISPATCH_APPROVAL = "dispatch_approval"
    MERGE_APPROVAL = "merge_approval"
    USER = "user"
    CONFLICT = "conflict"
    CIRCUIT_BREAKER = "circuit_breaker"
    BUDGET = "budget"
    PROVIDER_QUOTA = "provider_quota"
    UNKNOWN_OUTCOME = "unknown_outcome"
    ACTION_APPROVAL = "action_approval"
    TAKEOVER = "takeover"


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Hold(Model):
    """A stop that is orthogonal to the phase: while it stands, no next step begins."""

    kind: HoldKind
    by: str = "fettle"
    note: str = ""
    since: datetime | None = None


class Decision(Model):
    """A person's word at a gate. `head_sha` is the commit that the person saw; at the dispatch gate it is empty."""

    by: str = Field(min_length=1, max_length=200)
    approve: bool = True
    head_sha: str = ""
    action: str = Field(default="", max_length=200)
    """The question that is answered, by its id; empty: the decision is about the run."""
    note: str = Field(default="", max_length=10_000)


class HoldRequest(Model):
    by: str = Field(min_length=1, max_length=200)
    note: str = Field(default="", max_length=10_000)


class TakeoverRequest(HoldRequest):
    """A person wants the worktree and the session for themselves."""

    now: bool = False
    """Interrupt the agent's turn; else the turn in progress is waited for."""


class Edit(Model):
    """What a person changes in flight; None leaves a thing as it is. It counts from the next agent turn on."""

    by: str = Field(min_length=1, max_length=200)
    prompt: str | None = Field(default=None, max_length=10_000)
    model: str | None = Field(default=None, max_length=200)
    agent: str | None = Field(default=None, max_length=100)
    priority: int | None = Field(default=None, ge=1, le=5)


class Approval(Model):
    by: str
    head_sha: str = ""
    note: str = ""
    at: datetime | None = None


class PullRequest(Model):
    number: int
    url: str = ""
    node_id: str = ""
    ready: bool = False


FILES_NAMED: Final = 200
"""So many files of a change are named in a run's state, which every workflow task carries; all are counted."""
NO_FILE: Final = "(no file)"
"""Stands among the files of a head that was inspected and changes none."""


class Change(Model):
    """The commits under judgement: what one head adds to its base. A new head is a new Change, with no verdicts."""

    head_sha: str
    base_sha: str = ""
    files: tuple[str, ...] = ()
    file_count: int = 0
    """Of all files; 0: of those in `files`."""
    added_lines: int = 0
    removed_lines: int = 0
    warnings: tuple[work.SafetyFinding, ...] = ()
    by_us: bool = True
    """False: somebody else pushed it; it is inspected before anything else."""
    published_at: datetime | None = None
    review: Review | None = None
    review_posted: bool = False
    ci: checks.Verdict | None = None
    approval: Approval | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Files that it changes: all of them, or the first `FILES_NAMED`."""
        return tuple(path for path in self.files if path != NO_FILE)

    @property
    def size(self) -> int:
        """How many files it changes."""
        return self.file_count or len(self.paths)


class Reason(enum.StrEnum):
    """Why the agent is asked to work (again)."""

    INITIAL = "initial"
    REVIEW = "review"
    CI = "ci"
    CONFLICT = "conflict"
    EDIT = "edit"
    SAFETY = "safety"
    ANSWER = "answer"
    TAKEOVER = "takeover"


class WorkOrder(Model):
    """The next implementation round; `feedback` replaces the feedback of earlier rounds, it never stacks up."""

    reason: Reason = Reason.INITIAL
    feedback: str = ""


class Ending(Model):
    """How the run ends and why, in one sentence that a stranger understands."""

    phase: Phase
    reason: str
    failure_class: str = ""


class PhaseMark(Model):
    phase: Phase
    at: datetime


class Used(Model):
    """Retries spent, one counter a failure class."""

    review: int = 0
    ci: int = 0
    conflict: int = 0
    safety: int = 0


class MergeState(Model):
    requested: bool = False
    cleared_sha: str = ""
    merged_sha: str = ""


class State(Model):
    """Every field is defaulted but the issue: `State(issue=…)` is how a run starts."""

    issue: refs.Issue
    generation: int = 1
    """Which steps this run takes; given with its start, so that a run's history replays by the steps it was made
    with. 2: turns are reserved in the fleet's pool. 3: what the agent left is noted before a person gets the worktree,
    so that what they change there is told from it. 4: the queue is asked for a merge within a workflow task."""
    asked_by: str = ""
    fresh: bool = False
    """Start from the base branch again, whatever an earlier run of this issue left on its branch."""
    title: str = ""
    body: str = ""
    author: str = ""
    issue_url: str = ""
    labels: tuple[str, ...] = ()
    policy: RepositoryPolicy = RepositoryPolicy()
    mode: ApprovalMode = ApprovalMode.REVIEW_MERGE
    judge: str = "none"
    backend: str = ""
    model: str = ""
    escalation_model: str = ""
    priority: int = 3
    human_note: str = ""
    edited: tuple[str, ...] = ()
    """Fields that a person set on this run: neither labels nor defaults change them any more."""
    learnings: tuple[str, ...] = ()
    base_branch: str = ""
    branch: str = ""
    ci_poll_seconds: float = 180
    gate_poll_seconds: float = 3600
    phase: Phase = Phase.RECEIVED
    marks: tuple[PhaseMark, ...] = ()
    opened: bool = False
    triage: Triage | None = None
    claimed: bool = False
    dependencies_done: bool = False
    dispatch_approval: Approval | None = None
    admission_asked: bool = False
    admitted: bool = False
    behind: tuple[path_leases.Pair, ...] = ()
    """Runs for whose files it waits before it is admitted, the likeliest collision first; the repository tells."""
    leases_waived: bool = False
    """A person let it go on beside them: it waits for nobody's files any more."""
    order: WorkOrder | None = WorkOrder()
    rounds: int = 0
    summary: str = ""
    """The agent's own account of its last turn: shown to people, never decided upon."""
    session: Session | None = None
    question: Question | None = None
    """What the agent's next call waits for; its process has ended."""
    answer: Answer | None = None
    disk_is_theirs: bool = False
    """A person has taken the worktree over, and what they did there is not pushed: whatever ends the run, it is not
    removed."""
    handback: Handback | None = None
    """A person's work in the worktree that the next round records before anything else."""
    accepted: tuple[work.AcceptedCommit, ...] = ()
    """Commits in which persons who had the worktree changed protected paths."""
    host: work.HostLease | None = None
    change: Change | None = None
    pull: PullRequest | None = None
    merge: MergeState = MergeState()
    merge_attempts: int = 0
    used: Used = Used()
    cost_usd: float | None = None
    hold: Hold | None = None
    ending: Ending | None = None
    closed: bool = False
    refused: str = ""
    """The last signal that was refused, for the card: a signal has nobody to answer."""

    def move(self, phase: Phase, at: datetime) -> None:
        """Enter `phase`; entering the present one again changes nothing."""
        if self.phase is phase and self.marks:
            return
        self.phase = phase
        self.marks = (*self.marks, PhaseMark(phase=phase, at=at))

    @property
    def since(self) -> datetime | None:
        if self.hold and self.hold.since:
            return self.hold.since
        return self.marks[-1].at if self.marks else None

    @property
    def waits_for_files(self) -> bool:
        """Whether only the files of other runs keep it from a place. No hold stops it, and nobody has to act."""
        return bool(self.behind) and not self.admitted and self.ending is None

    @property
    def max_collision(self) -> float:
        """A collision costs a repair at most: what is most urgent does not wait for that."""
        waived = self.leases_waived or self.priority <= path_leases.MOST_URGENT
        return path_leases.NEVER if waived else self.policy.max_collision

    def hold_label(self) -> str:
        if self.hold is None and self.waits_for_files:
            return HoldKind.CONFLICT.value
        return self.hold.kind.value if self.hold else ""

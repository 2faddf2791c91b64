"""What each activity on the forge is asked, and what it answers: one model in, one model out."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from domain import checks, path_leases, refs, review, work
from domain.policy import ApprovalMode, RepositoryPolicy
from domain.run import Ending, PullRequest


class Message(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Nothing(Message):
    """The answer of an activity whose effect is all there is to know."""


class OpenRun(Message):
    issue: refs.Issue


class Opened(Message):
    """The issue as it is, and the policy snapshot that the run keeps. `refusal` is empty when the run may go on."""

    refusal: str = ""
    gone: str = ""
    """Why there is nothing to do any more: the issue was closed."""
    title: str = ""
    body: str = ""
    author: str = ""
    url: str = ""
    labels: tuple[str, ...] = ()
    policy: RepositoryPolicy = RepositoryPolicy()
    mode: ApprovalMode = ApprovalMode.REVIEW_MERGE
    judge: str = "none"
    backend: str = ""
    base_branch: str = ""
    learnings: tuple[str, ...] = ()
    ci_poll_seconds: float = 180
    gate_poll_seconds: float = 3600


class JudgeTriage(Message):
    issue: refs.Issue
    title: str
    body: str
    backend: str = ""


class ClaimIssue(Message):
    issue: refs.Issue
    body: str
    """Text of the status comment."""


class WatchDependencies(Message):
    repo: refs.Repository
    numbers: tuple[int, ...]
    waiting: int = 0
    """The issue that waits: one that is reached from its own dependencies waits for itself."""
    poll_seconds: float = 60


class Dependencies(Message):
    """`failed` names the dependency that will never be done, in words."""

    failed: str = ""


class Admission(Message):
    """`granted` False: the run is in line, and is told by a signal."""

    granted: bool = False


class RequestAdmission(Message):
    repo: refs.Repository
    run: str
    priority: int = 3
    max_in_flight: int = 4
    state: str = ""
    state_limit: int | None = None
    max_collision: float = path_leases.NEVER
    base_branch: str = ""


class Publish(Message):
    issue: refs.Issue
    branch: str
    base_branch: str
    head_sha: str
    title: str
    body: str
    status: str
    """Text of the issue's status comment."""


class Published(Message):
    """`head_sha` is the branch's head as it was found: somebody may have pushed meanwhile."""

    head_sha: str = ""
    pull: PullRequest
    base_sha: str = ""
    at: datetime | None = None


class InspectHead(Message):
    repo: refs.Repository
    base_branch: str
    pull: refs.PullRequest
    """Its head as it is now is inspected: it may have been rewritten since the run last looked."""


class Inspection(Message):
    """The shape of a head that somebody else pushed, and what the safety scan says of the lines it adds."""

    head_sha: str = ""
    base_sha: str = ""
    files: tuple[str, ...] = ()
    added_lines: int = 0
    removed_lines: int = 0
    findings: tuple[work.SafetyFinding, ...] = ()


class JudgeReview(Message):
    issue: refs.Issue
    title: str
    body: str
    base_sha: str
    head_sha: str
    warnings: tuple[work.SafetyFinding, ...] = ()


class PostReview(Message):
    pull: refs.PullRequest
    review: review.Review
    again: bool = False


class MarkReady(Message):
    pull: refs.PullRequest


class WatchGate(Message):
    """Wait until what the gate was shown is no longer true."""

    issue: refs.Issue
    pull: refs.PullRequest
    head_sha: str
    poll_seconds: float = 3600


class GateFacts(Message):
    issue_open: bool = True
    pull_open: bool = True
    merged: bool = False
    merge_sha: str = ""
    head_sha: str = ""


class PollChecks(Message):
    request: checks.PollRequest
    pull: refs.PullRequest | None = None
    """Also answer when this pull request is closed or has another head: then the verdict is of no use."""


class PolledChecks(Message):
    """`verdict` None: the pull request is not what it was; `facts` says how."""

    verdict: checks.Verdict | None = None
    facts: GateFacts | None = None
    log_tail: str = ""


class CloseRun(Message):
    issue: refs.Issue
    run: str
    ending: Ending
    status: str
    branch: str = ""
    pull: refs.PullRequest | None = None
    base_branch: str = ""
    learnings: tuple[tuple[str, str], ...] = ()
    """Pairs of kind and text."""


class Runs(Message):
    workflow_ids: tuple[str, ...] = ()


class Ended(Message):
    """Which of the runs that were asked about are over, and which of the others have pushed work."""

    workflow_ids: tuple[str, ...] = ()
    pushed: tuple[str, ...] = ()


class IntakeResult(Message):
    seen: int = 0
    started: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    """Each with the reason."""
    problem: str = ""
    """What is wrong with the newest WORKFLOW.md."""

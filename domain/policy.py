"""What a repository allows: a snapshot taken when a run starts and kept for its whole life."""

import enum

from pydantic import BaseModel, ConfigDict, Field


class ApprovalMode(enum.StrEnum):
    """How much a person decides. Any other value is refused when it is read, never guessed."""

    FULL_AUTO = "full-auto"
    REVIEW_MERGE = "review-merge"
    REVIEW_ALL = "review-all"

    @property
    def asks_before_dispatch(self) -> bool:
        return self is ApprovalMode.REVIEW_ALL

    @property
    def asks_before_merge(self) -> bool:
        return self is not ApprovalMode.FULL_AUTO


class NoChecks(enum.StrEnum):
    """What to do with a commit that has no checks after the registration time."""

    HOLD = "hold"
    FAIL = "fail"
    MERGE = "merge"


class MergeMethod(enum.StrEnum):
    MERGE = "merge"
    SQUASH = "squash"
    REBASE = "rebase"


class RetryBudgets(BaseModel):
    """One budget a failure class: a class that is used up ends the run in its own words. Counts are retries, so 0
    means a single try."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent_error: int = Field(default=3, ge=0, le=20)
    stall: int = Field(default=2, ge=0, le=20)
    verify: int = Field(default=2, ge=0, le=20)
    safety: int = Field(default=1, ge=0, le=20)
    review: int = Field(default=3, ge=0, le=20)
    ci: int = Field(default=3, ge=0, le=20)
    conflict: int = Field(default=3, ge=0, le=20)
    host_loss: int = Field(default=5, ge=0, le=50)


class RepositoryPolicy(BaseModel):
    """Settings of one repository. Unknown keys are refused: a misspelt gate must not be an open one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approval_mode: ApprovalMode | None = None
    """None: the fleet's mode."""
    allowed_authors: tuple[str, ...] = ()
    """Logins whose issues may become runs. Empty: whoever may write to the repository."""
    verify_command: str = ""
    """Run with `bash -c` on the commit, after its work branch is pushed and before the pull request is opened. Empty:
    CI alone decides."""
    verify_timeout_seconds: float = Field(default=300, gt=0, le=7200)
    base_branch: str = ""
    """Empty: the repository's default branch."""
    agent: str = ""
    """Backend for this repository. Empty: the installation's default."""
    model: str = ""
    escalation_model: str = ""
    """Model for retries after a rejection or a crash. Empty: the same model."""
    max_in_flight: int = Field(default=4, ge=1, le=1000)
    ignored_checks: tuple[str, ...] = ("auto-merge", "coderabbit*", "codecov*", "sonarcloud*", "dependabot*")
    """Names (shell patterns) of checks that never hold a merge back, unless branch protection requires them."""
    no_checks: NoChecks = NoChecks.HOLD
    check_registration_seconds: float = Field(default=120, ge=0, le=3600)
    """How long a commit may go without a single check before it counts as having none."""
    ci_timeout_seconds: float = Field(default=6 * 3600, gt=0, le=7 * 24 * 3600)
    merge_method: MergeMethod = MergeMethod.MERGE
    silence_seconds: float = Field(default=600, gt=0)
    turn_seconds: float = Field(default=3600, gt=0)
    budgets: RetryBudgets = Field(default_factory=RetryBudgets)

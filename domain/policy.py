"""What a repository allows: a snapshot taken when a run starts and kept for its whole life."""

import enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.agent import Autonomy, McpServer
from domain.hooks import Hooks
from domain.workflow_policy import FILE_NAME, LEVELS, Workflow


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

    def at_least(self, other: "ApprovalMode") -> "ApprovalMode":
        """The one of the two in which a person decides more."""
        order = list(ApprovalMode)
        return max(self, other, key=order.index)


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
    fallback_agents: tuple[str, ...] = ()
    """Backends that may take a turn while the provider of the first one refuses, in this order. Empty: the run
    waits."""
    max_turns: int = Field(default=5, ge=1, le=100)
    """Turns of one round that may follow each other because a turn ended at its limit."""
    max_in_flight: int = Field(default=4, ge=1, le=1000)
    max_collision: float = Field(default=0.25, ge=0, le=1)
    """How likely it may be that two runs which work at the same time change a file in common, 0 to 1: above it the
    later one waits until the other one ends. At 1 no run waits, and the code graph is not asked."""
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
    autonomy: Autonomy = Autonomy.FULL
    """What an agent may do by itself inside of its sandbox."""
    allowed_tools: tuple[str, ...] = ()
    """Tools, in the agent's own spelling, that need no question below the autonomy `full`."""
    ask_tools: tuple[str, ...] = ()
    """Tools, such as `Bash(git push*)`, whose every call a person decides."""
    mcp_servers: tuple[McpServer, ...] = ()
    """Tool servers that the agent's CLI starts inside the sandbox."""
    trust_repository_settings: bool = False
    """Whether the agent's CLI obeys settings, hooks and tool servers that lie in the repository's own files."""
    hooks: Hooks = Hooks()
    """Scripts around the agent's turns, run in its sandbox."""
    sandbox_level: str = Field(default="", pattern=r"^(|user|container|bubblewrap)$")
    """The least confinement that a run accepts. Empty: whatever the agent host gives."""
    egress: tuple[str, ...] | None = None
    """Hosts (`host`, `host:port` or the name of a list) that a run may reach, out of those that the installation
    allows. Not set: all of those."""
    state_limits: dict[str, int] = Field(default_factory=dict)
    """Most runs at once of issues in one state, by the state's name in lower case."""
    workflow_file: str = FILE_NAME
    """File of the repository, on its base branch, that says more. Empty: none is read."""
    workflow: Workflow | None = None
    """That file, as the run found it when it started; never stored for a repository."""


def effective(operator: RepositoryPolicy, workflow: Workflow | None) -> RepositoryPolicy:
    """The policy of a run: the operator's settings, and where they are silent what the repository's file says.

    The file loosens nothing that the operator has set: limits become the smaller, an approval mode the stricter of the
    two, and what a person is asked about is what either of them names.
    """
    if workflow is None:
        return operator.model_copy(update={"workflow": None})
    wish, gates = workflow.agent, workflow.gates
    offered: dict[str, Any] = {
        "agent": wish.backend,
        "model": wish.model,
        "autonomy": wish.autonomy,
        "allowed_tools": wish.allowed_tools,
        "mcp_servers": wish.mcp_servers,
        "hooks": workflow.hooks if workflow.hooks != Hooks() else None,
        "verify_command": gates.verify_command,
        "verify_timeout_seconds": gates.verify_timeout_seconds,
        "merge_method": MergeMethod(gates.merge_method) if gates.merge_method else None,
    }
    given = operator.model_fields_set
    # A setting that was emptied (`fettle repo set --verify ""`) is silent again: there is no other way to take it back.
    silent = {key for key in offered if key not in given or not getattr(operator, key)}
    if wish.backend and "agent" not in silent and wish.backend != operator.agent:
        silent -= {"model"}  # it is a model of the backend that the file asks for, and does not get
    changes = {key: value for key, value in offered.items() if value and key in silent}
    changes["sandbox_level"] = max(operator.sandbox_level, workflow.sandbox.level, key=_confinement)
    if wish.autonomy and "autonomy" in given:
        changes["autonomy"] = max(operator.autonomy, wish.autonomy, key=list(Autonomy).index)
    for key, wished in (
        ("max_in_flight", wish.max_concurrent),
        ("max_turns", wish.max_turns),
        ("turn_seconds", wish.turn_seconds),
        ("silence_seconds", wish.silence_seconds),
    ):
        if wished is not None:
            changes[key] = min(wished, getattr(operator, key)) if key in given else wished
    changes["ask_tools"] = tuple(dict.fromkeys((*operator.ask_tools, *wish.ask_tools)))
    changes["egress"] = _narrower(operator.egress, workflow.sandbox.egress)
    limits = workflow.tracker.state_limits
    changes["state_limits"] = limits | {
        state: min(most, limits.get(state, most)) for state, most in operator.state_limits.items()
    }
    if gates.approval_mode and operator.approval_mode:
        changes["approval_mode"] = operator.approval_mode.at_least(ApprovalMode(gates.approval_mode))
    return operator.model_copy(update={**changes, "workflow": workflow})


def mode_of_run(policy: RepositoryPolicy, fleet: ApprovalMode) -> ApprovalMode:
    """How much a person decides in a run: the repository's setting, else the fleet's, and never less than the
    repository's file asks for."""
    mode = policy.approval_mode or fleet
    wished = policy.workflow.gates.approval_mode if policy.workflow else ""
    return mode.at_least(ApprovalMode(wished)) if wished else mode


def _confinement(level: str) -> int:
    return LEVELS.index(level) if level else -1


def _narrower(allowed: tuple[str, ...] | None, wished: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if allowed is None or wished is None:
        return wished if allowed is None else allowed
    return tuple(host for host in wished if host in allowed)

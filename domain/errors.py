"""Every error of Fettle, and what each means for a retry.

FettleError
├── ForgeError
│   ├── ForgeUnavailable      retry        network, 5xx, an answer that is not the forge's
│   ├── RateLimited           retry        not before `retry_after`
│   ├── NotFound              final        the thing, or our access to it, is gone
│   ├── AccessDenied          human        403 for want of a permission
│   ├── BadCredentials        human        401; the token is wrong, expired or revoked
│   ├── InvalidRequest        final        422; the forge understood and refuses
│   ├── HeadMoved             final        a verdict was about another commit
│   └── NotMergeable          final        conflict, draft, or a protection that is not met
├── GitError
│   ├── GitFailed             retry        git ended with an error that may pass (network, lock)
│   ├── RefMoved              final        --force-with-lease found another commit
│   └── UnsafeWork            final        the agent's commits break a rule of the import check
├── AgentError
│   ├── AgentUnavailable      human        the CLI is not installed, or not logged in
│   │   └── AgentLoggedOut    human        its login was refused after it had begun to work
│   ├── AgentCrashed          retry        the process ended without a verdict; the session is resumed
│   ├── AgentStalled          retry        no output, no CPU, no IO for the silence limit
│   ├── AgentTimedOut         retry        the total time of the turn is used up
│   ├── QuotaExhausted        retry        the provider's limit; not before `retry_after`
│   ├── LeaseLost             final        another host has taken the run over; this one must not act any more
│   └── AgentRefused          final        the model declined the task
├── JudgeFailed               retry        a judgement could not be had; never counts as a verdict
├── HostFull                  benign       every slot of the host is leased
├── ChecksPending             benign       CI has not finished; the wait goes on
├── TurnNotYet                benign       no agent, no money or no quota for a turn now; the wait goes on
├── NothingNew                benign       what is watched has not changed; the wait goes on
├── ConfigurationError        human        a key, a value or a file is wrong
│   ├── WorkflowFileInvalid   human        a repository's WORKFLOW.md has mistakes
│   └── TemplateFailed        human        its prompt cannot be rendered for this task
├── HookFailed                retry        a script of the repository failed before its agent could work
└── Refused                   final        a person asked for something the state does not allow

Each class carries its `kind`; `activities.edge` is the one place that translates it for Temporal.
"""

import enum
from datetime import timedelta
from typing import ClassVar


class Kind(enum.StrEnum):
    """What the caller should do about an error."""

    RETRY = "retry"
    FINAL = "final"
    BENIGN = "benign"
    HUMAN = "human"


class FettleError(Exception):
    """Base of all. `retry_after` says how long to wait at least before the same call can succeed."""

    kind: ClassVar[Kind] = Kind.FINAL

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @classmethod
    def wire_type(cls) -> str:
        """The error type as it stands in a history."""
        return cls.__name__


class ForgeError(FettleError):
    """The forge could not, or would not, do what was asked."""


class ForgeUnavailable(ForgeError):
    """No usable answer. For a write the outcome is unknown: look the effect up before making it again."""

    kind = Kind.RETRY


class RateLimited(ForgeError):
    kind = Kind.RETRY


class NotFound(ForgeError):
    pass


class AccessDenied(ForgeError):
    kind = Kind.HUMAN


class BadCredentials(ForgeError):
    kind = Kind.HUMAN


class InvalidRequest(ForgeError):
    pass


class HeadMoved(ForgeError):
    """A verdict was about `expected_sha`, the head is now `found_sha` (empty when unknown)."""

    def __init__(self, message: str, *, expected_sha: str, found_sha: str = "") -> None:
        super().__init__(message)
        self.expected_sha = expected_sha
        self.found_sha = found_sha


class NotMergeable(ForgeError):
    pass


class GitError(FettleError):
    """git could not, or must not, do what was asked."""


class GitFailed(GitError):
    kind = Kind.RETRY


class RefMoved(GitError):
    pass


class UnsafeWork(GitError):
    pass


class AgentError(FettleError):
    """A coding agent's turn did not finish."""


class AgentUnavailable(AgentError):
    kind = Kind.HUMAN


class AgentLoggedOut(AgentUnavailable):
    pass


class AgentCrashed(AgentError):
    kind = Kind.RETRY


class AgentStalled(AgentError):
    kind = Kind.RETRY


class AgentTimedOut(AgentError):
    kind = Kind.RETRY


class QuotaExhausted(AgentError):
    kind = Kind.RETRY


class LeaseLost(AgentError):
    pass


class AgentRefused(AgentError):
    pass


class JudgeFailed(FettleError):
    kind = Kind.RETRY


class HostFull(FettleError):
    kind = Kind.BENIGN


class ChecksPending(FettleError):
    kind = Kind.BENIGN


class TurnNotYet(FettleError):
    kind = Kind.BENIGN


class NothingNew(FettleError):
    kind = Kind.BENIGN


class ConfigurationError(FettleError):
    kind = Kind.HUMAN


class WorkflowFileInvalid(ConfigurationError):
    """`code` is that of the first mistake (`domain.workflow_policy.Code`)."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class TemplateFailed(ConfigurationError):
    pass


class HookFailed(FettleError):
    """The script `event` ended with `exit_code`, or was stopped when its time was over (None)."""

    kind = Kind.RETRY

    def __init__(self, message: str, *, event: str, exit_code: int | None) -> None:
        super().__init__(message)
        self.event = event
        self.exit_code = exit_code


class Refused(FettleError):
    pass

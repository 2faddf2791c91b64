"""The commands that a repository runs around its agents: when each runs, for how long, and what its failure means."""

import enum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

SCRIPT_LIMIT: Final = 16_000
"""Characters of one script: it travels in every request of a run."""


class Event(enum.StrEnum):
    """When a hook runs."""

    AFTER_CREATE = "after_create"
    """The worktree was made on this host. A failure ends the preparation, and the next one runs the hook again."""
    BEFORE_RUN = "before_run"
    """Before an agent's turn. A failure ends that turn before the agent is started."""
    AFTER_RUN = "after_run"
    """After an agent's turn, however it ended. A failure is recorded and ignored."""
    BEFORE_REMOVE = "before_remove"
    """Before the worktree is removed. A failure is recorded and ignored."""

    @property
    def is_fatal(self) -> bool:
        return self in {Event.AFTER_CREATE, Event.BEFORE_RUN}


class Hooks(BaseModel):
    """Shell scripts by event, run with `bash -c` in the worktree, inside the agent's sandbox; empty: none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after_create: str = Field(default="", max_length=SCRIPT_LIMIT)
    before_run: str = Field(default="", max_length=SCRIPT_LIMIT)
    after_run: str = Field(default="", max_length=SCRIPT_LIMIT)
    before_remove: str = Field(default="", max_length=SCRIPT_LIMIT)
    timeout_seconds: float = Field(default=60, gt=0, le=7200)
    """Of each of them; when it is over, every process of the hook is ended."""

    def script(self, event: Event) -> str:
        return str(getattr(self, event.value))


class Call(BaseModel):
    """What a hook is told. The script reads it as `HOOK_*` variables; nothing of it is put into the script's text."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    """The run's workflow id."""
    worktree: str
    """Path on the host."""
    hooks: Hooks = Hooks()
    round: int = 0
    """The turn that it is about; 0 where it is about none."""
    issue: str = ""
    branch: str = ""
    base_branch: str = ""
    egress: tuple[str, ...] | None = None
    """The policy's: hosts out of those that the installation allows; None: all of them."""
    image: str = ""
    """The agent's, where the sandbox is a container."""

    def environment(self, event: Event) -> dict[str, str]:
        return {
            "HOOK_EVENT": event.value,
            "HOOK_RUN": self.run,
            "HOOK_ISSUE": self.issue,
            "HOOK_BRANCH": self.branch,
            "HOOK_BASE_BRANCH": self.base_branch,
            "HOOK_TURN": str(self.round) if self.round else "",
        }


class Result(BaseModel):
    """How a hook ended. `ran` False: there is no script for the event, or it has done its work before."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ran: bool = False
    ok: bool = True
    sentence: str = ""
    """What went wrong and where the output is; empty when nothing did."""

"""What is known of a run beside its own state: what other workflows and the Temporal server say of it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from domain import fleet, implement, merge_queue


class PendingCall(BaseModel):
    """An activity that has not succeeded yet, as the Temporal server describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    activity: str
    attempt: int = 1
    failure_type: str = ""
    last_failure: str = ""
    next_attempt_at: datetime | None = None
    started: bool = False
    """True while a worker runs it; False while it waits for a worker or for its next attempt."""

    @property
    def in_retries(self) -> bool:
        return self.attempt > 1


class Surroundings(BaseModel):
    """What is known beside the run's own state; every part may be missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pending: tuple[PendingCall, ...] = ()
    implementation: implement.State | None = None
    """State of the child that implements, while there is one."""
    repository: fleet.RepositoryState | None = None
    queue: merge_queue.State | None = None

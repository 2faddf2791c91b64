"""What a forge's webhook tells us, in our words. An event only wakes a run, which then reads the truth again."""

import enum

from pydantic import BaseModel, ConfigDict

from domain import refs


class Kind(enum.StrEnum):
    WORK_REQUESTED = "work.requested"
    """An issue was opened, or got a label or an assignee; `labels` tells whether it asks for us."""
    WORK_WITHDRAWN = "work.withdrawn"
    """An issue lost the labels in `labels`; without any it was closed, moved or deleted."""
    ISSUE_EDITED = "issue.edited"
    HEAD_MOVED = "pr.head_moved"
    """A branch points at another commit; by a push there may be no pull request."""
    PULL_REOPENED = "pr.reopened"
    PULL_CLOSED = "pr.closed"
    """Closed without a merge."""
    PULL_MERGED = "pr.merged"
    REVIEW_CHANGED = "review.changed"
    CI_CHANGED = "ci.changed"


class ForgeEvent(BaseModel):
    """A hint about one issue, pull request or branch of one repository. Order is not promised by any forge: compare
    `head_sha` with what is there now, never the time of arrival."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Kind
    repo: refs.Repository
    issue: int | None = None
    pull: int | None = None
    branch: str = ""
    """The branch that the pull request, push or check is about; empty when the forge does not name one."""
    head_sha: str = ""
    """Empty when the branch is gone, or the event is about no commit."""
    labels: tuple[str, ...] = ()
    title: str = ""
    """The issue's title, anybody's text; empty where the event is about no issue."""
    actor: str = ""
    """Who caused it, as the forge says: for the record, never for a decision."""
    delivery_id: str = ""
    """The forge's id of the delivery; the intake fills it in."""

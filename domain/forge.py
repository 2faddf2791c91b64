"""What a forge tells us, in our words: issues, pull requests, checks. Adapters translate vendor shapes into these."""

import enum
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from domain import refs


class Fact(BaseModel):
    """Something read from the forge at one moment; fields we do not know are ignored, never an error."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Permission(enum.StrEnum):
    NONE = "none"
    READ = "read"
    TRIAGE = "triage"
    WRITE = "write"
    MAINTAIN = "maintain"
    ADMIN = "admin"

    @property
    def can_write(self) -> bool:
        return self in {Permission.WRITE, Permission.MAINTAIN, Permission.ADMIN}


class RepositoryFacts(Fact):
    ref: refs.Repository
    default_branch: str
    html_url: str = ""
    can_push: bool = False
    archived: bool = False


class Issue(Fact):
    ref: refs.Issue
    title: str = ""
    body: str = ""
    author: str = ""
    open: bool = True
    labels: tuple[str, ...] = ()
    html_url: str = ""
    assignees: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None


class File(Fact):
    """A text file at one commit."""

    path: str
    blob_sha: str
    text: str


class Filed(Fact):
    """An issue of ours: opened now, or found to be there from an earlier try."""

    issue: Issue
    already_made: bool = False


class Comment(Fact):
    id: int
    author: str = ""
    body: str = ""
    html_url: str = ""


class PullRequest(Fact):
    """A pull request. `mergeable` is None while the forge is still working it out."""

    ref: refs.PullRequest
    node_id: str = ""
    title: str = ""
    head_branch: str = ""
    head_sha: str = ""
    base_branch: str = ""
    base_sha: str = ""
    open: bool = True
    draft: bool = False
    merged: bool = False
    mergeable: bool | None = None
    html_url: str = ""


class CheckState(enum.StrEnum):
    PENDING = "pending"
    SUCCESS = "success"
    NEUTRAL = "neutral"
    SKIPPED = "skipped"
    FAILURE = "failure"

    @property
    def passes(self) -> bool:
        return self in {CheckState.SUCCESS, CheckState.NEUTRAL, CheckState.SKIPPED}


class Check(Fact):
    """A check run or a commit status on one commit, whichever the forge has."""

    name: str
    state: CheckState
    app_id: int | None = None
    url: str = ""
    summary: str = ""


class RequiredCheck(Fact):
    """A context that branch protection asks for; `app_id` None accepts any app."""

    name: str
    app_id: int | None = None


class Comparison(Fact):
    """`head` against `base`: how far they have drifted apart, and the commit they share."""

    ahead_by: int = 0
    behind_by: int = 0
    merge_base_sha: str = ""
    files: tuple[str, ...] = ()


class Merge(Fact):
    sha: str
    already_made: bool = False


class ReviewEvent(enum.StrEnum):
    COMMENT = "COMMENT"
    APPROVE = "APPROVE"
    REQUEST_CHANGES = "REQUEST_CHANGES"

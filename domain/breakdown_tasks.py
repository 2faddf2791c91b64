"""What each activity of a breakdown is asked, and what it answers: one model in, one model out."""

from datetime import datetime

from domain import refs
from domain.breakdown import MOST_ISSUES, Draft, Model


class Survey(Model):
    """`wanted_labels`: a person asked for them on every issue. `tracking` 0: no issue keeps the checklist."""

    repo: refs.Repository
    wanted_labels: tuple[str, ...] = ()
    tracking: int = 0


class Surveyed(Model):
    """`refusal` is empty when the breakdown may go on. `judge` is `none` where no model is configured."""

    labels: tuple[str, ...] = ()
    judge: str = "none"
    refusal: str = ""


class JudgeBreakdown(Model):
    repo: refs.Repository
    spec: str
    text: str
    labels: tuple[str, ...] = ()


class PlanIssues(Model):
    repo: refs.Repository
    spec: str
    draft: Draft
    known_labels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    most: int = MOST_ISSUES


class FileIssue(Model):
    repo: refs.Repository
    key: str
    title: str
    body: str
    labels: tuple[str, ...] = ()
    since: datetime
    """When the plan was made: it found no issue with this key."""


class FiledIssue(Model):
    number: int
    url: str = ""
    made: bool = True
    """False: an earlier try had filed it."""


class PostChecklist(Model):
    issue: refs.Issue
    key: str
    body: str


class Posted(Model):
    url: str = ""

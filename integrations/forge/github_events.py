"""GitHub webhooks: is the sender who it says, and what happened in our words. Pure: nothing is read or written."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Annotated, Final

import pydantic

from domain import events, refs

_PREFIX: Final = "sha256="
_HEADS: Final = "refs/heads/"
_NO_COMMIT: Final = "0" * 40
Number = Annotated[int, pydantic.Field(gt=0)]
Sha = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]


def verify_signature(secret: str, raw_body: bytes, header: str | None) -> bool:
    """Whether `header` (`X-Hub-Signature-256`) signs exactly these bytes. An empty secret verifies nothing."""
    if not secret or not header:
        return False
    expected = _PREFIX + hmac.new(secret.encode(), raw_body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), header.strip().encode("utf-8", "surrogateescape"))


def parse(event: str, payload: object) -> list[events.ForgeEvent]:
    """What a delivery means to us; `event` is its `X-GitHub-Event`.

    Empty for events and actions that we do not act on, and for a known event whose payload is not as GitHub describes
    it: a webhook is a hint, and a hint that cannot be read costs latency, never a run. Never raises.
    """
    read = _READERS.get(event)
    if read is None:
        return []
    try:
        return read(payload)
    except ValueError:  # a field is missing or of another type, or a name is no repository's
        return []


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


class _Repository(_Part):
    full_name: str


class _User(_Part):
    login: str = ""


class _Label(_Part):
    name: str


class _Payload(_Part):
    """What every delivery about a repository holds."""

    action: str = ""
    repository: _Repository
    sender: _User | None = None

    def event(
        self,
        kind: events.Kind,
        *,
        issue: int | None = None,
        pull: int | None = None,
        branch: str | None = "",
        head_sha: str = "",
        labels: tuple[str, ...] = (),
        title: str = "",
    ) -> events.ForgeEvent:
        return events.ForgeEvent(
            kind=kind,
            repo=refs.Repository.parse(self.repository.full_name),
            issue=issue,
            pull=pull,
            branch=branch or "",
            head_sha=head_sha,
            labels=labels,
            title=title,
            actor=self.sender.login if self.sender else "",
        )


class _IssueFacts(_Part):
    number: Number
    title: str | None = ""
    labels: tuple[_Label, ...] | None = ()
    pull_request: dict[str, object] | None = None


class _Issues(_Payload):
    issue: _IssueFacts
    label: _Label | None = None


_ISSUE_ACTIONS: Final = {
    "opened": events.Kind.WORK_REQUESTED,
    "reopened": events.Kind.WORK_REQUESTED,
    "assigned": events.Kind.WORK_REQUESTED,
    "labeled": events.Kind.WORK_REQUESTED,
    "closed": events.Kind.WORK_WITHDRAWN,
    "unlabeled": events.Kind.WORK_WITHDRAWN,
    "transferred": events.Kind.WORK_WITHDRAWN,
    "deleted": events.Kind.WORK_WITHDRAWN,
    "edited": events.Kind.ISSUE_EDITED,
}


def _issues(payload: object) -> list[events.ForgeEvent]:
    seen = _Issues.model_validate(payload)
    kind = _ISSUE_ACTIONS.get(seen.action)
    if kind is None or seen.issue.pull_request is not None:
        return []
    if seen.action in {"labeled", "unlabeled"}:
        if seen.label is None:
            return []
        labels: tuple[str, ...] = (seen.label.name,)
    elif kind is events.Kind.WORK_WITHDRAWN:  # the issue is gone as a whole, whatever labels it still carries
        labels = ()
    else:
        labels = tuple(label.name for label in seen.issue.labels or ())
    return [seen.event(kind, issue=seen.issue.number, labels=labels, title=seen.issue.title or "")]


class _Head(_Part):
    ref: str
    sha: Sha


class _PullFacts(_Part):
    number: Number
    head: _Head
    merged: bool | None = None
    merged_at: str | None = None


class _PullRequest(_Payload):
    pull_request: _PullFacts

    def about(self, kind: events.Kind) -> events.ForgeEvent:
        pull = self.pull_request
        return self.event(kind, pull=pull.number, branch=pull.head.ref, head_sha=pull.head.sha)


def _pull_request(payload: object) -> list[events.ForgeEvent]:
    seen = _PullRequest.model_validate(payload)
    match seen.action:
        case "synchronize":
            return [seen.about(events.Kind.HEAD_MOVED)]
        case "reopened":
            return [seen.about(events.Kind.PULL_REOPENED)]
        case "closed" if seen.pull_request.merged or seen.pull_request.merged_at:
            return [seen.about(events.Kind.PULL_MERGED)]
        case "closed":
            return [seen.about(events.Kind.PULL_CLOSED)]
        case _:
            return []


def _reviewed(*actions: str) -> Callable[[object], list[events.ForgeEvent]]:
    def read(payload: object) -> list[events.ForgeEvent]:
        seen = _PullRequest.model_validate(payload)
        return [seen.about(events.Kind.REVIEW_CHANGED)] if seen.action in actions else []

    return read


class _Push(_Payload):
    ref: str
    after: Sha


def _push(payload: object) -> list[events.ForgeEvent]:
    seen = _Push.model_validate(payload)
    if not seen.ref.startswith(_HEADS):
        return []
    sha = "" if seen.after == _NO_COMMIT else seen.after
    return [seen.event(events.Kind.HEAD_MOVED, branch=seen.ref.removeprefix(_HEADS), head_sha=sha)]


class _Suite(_Part):
    head_sha: Sha
    head_branch: str | None = None


class _CheckRunFacts(_Part):
    head_sha: Sha
    check_suite: _Suite | None = None


class _CheckRun(_Payload):
    check_run: _CheckRunFacts


class _CheckSuite(_Payload):
    check_suite: _Suite


class _WorkflowRun(_Payload):
    workflow_run: _Suite


class _Branch(_Part):
    name: str


class _Status(_Payload):
    sha: Sha
    branches: tuple[_Branch, ...] = ()


def _check_run(payload: object) -> list[events.ForgeEvent]:
    seen = _CheckRun.model_validate(payload)
    suite = seen.check_run.check_suite
    branch = suite.head_branch if suite else ""
    return _ci(seen, branch, seen.check_run.head_sha)


def _check_suite(payload: object) -> list[events.ForgeEvent]:
    seen = _CheckSuite.model_validate(payload)
    return _ci(seen, seen.check_suite.head_branch, seen.check_suite.head_sha)


def _workflow_run(payload: object) -> list[events.ForgeEvent]:
    seen = _WorkflowRun.model_validate(payload)
    return _ci(seen, seen.workflow_run.head_branch, seen.workflow_run.head_sha)


def _ci(seen: _Payload, branch: str | None, sha: str) -> list[events.ForgeEvent]:
    if seen.action != "completed":
        return []
    return [seen.event(events.Kind.CI_CHANGED, branch=branch, head_sha=sha)]


def _status(payload: object) -> list[events.ForgeEvent]:
    """A commit status has no action; it names up to ten branches whose tip the commit is."""
    seen = _Status.model_validate(payload)
    branches = [branch.name for branch in seen.branches] or [""]
    return [seen.event(events.Kind.CI_CHANGED, branch=branch, head_sha=seen.sha) for branch in branches]


_READERS: Final[Mapping[str, Callable[[object], list[events.ForgeEvent]]]] = {
    "issues": _issues,
    "pull_request": _pull_request,
    "pull_request_review": _reviewed("submitted", "dismissed", "edited"),
    "pull_request_review_comment": _reviewed("created", "edited", "deleted"),
    "pull_request_review_thread": _reviewed("resolved", "unresolved"),
    "push": _push,
    "check_run": _check_run,
    "check_suite": _check_suite,
    "workflow_run": _workflow_run,
    "status": _status,
}

"""GitHub's answers, as far as we read them. Unknown fields are ignored and unknown words stay words, so that a field
or a state that GitHub adds later breaks nothing. Nothing but reading happens here."""

from datetime import datetime
from typing import Final

import pydantic

from domain import forge, refs

_SUMMARY_CHARS: Final = 2000
_CONCLUSIONS: Final = {
    "success": forge.CheckState.SUCCESS,
    "neutral": forge.CheckState.NEUTRAL,
    "skipped": forge.CheckState.SKIPPED,
}
_STATUSES: Final = {
    "success": forge.CheckState.SUCCESS,
    "failure": forge.CheckState.FAILURE,
    "error": forge.CheckState.FAILURE,
}


class Wire(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


class User(Wire):
    login: str = ""


class Named(Wire):
    """A label, in the places where GitHub gives an object."""

    name: str = ""


class Grants(Wire):
    push: bool = False


class Repository(Wire):
    default_branch: str
    html_url: str = ""
    archived: bool = False
    permissions: Grants = Grants()

    def facts(self, repo: refs.Repository, *, can_push: bool) -> forge.RepositoryFacts:
        return forge.RepositoryFacts(
            ref=repo,
            default_branch=self.default_branch,
            html_url=self.html_url,
            can_push=(can_push or self.permissions.push) and not self.archived,
            archived=self.archived,
        )


class Issue(Wire):
    number: int
    title: str = ""
    body: str | None = None
    user: User | None = None
    state: str = "open"
    labels: tuple[Named | str, ...] = ()
    assignees: tuple[User, ...] | None = ()
    html_url: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    pull_request: dict[str, object] | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        names = (label if isinstance(label, str) else label.name for label in self.labels)
        return tuple(name for name in names if name)

    def fact(self, repo: refs.Repository) -> forge.Issue:
        return forge.Issue(
            ref=repo.issue(self.number),
            title=self.title,
            body=self.body or "",
            author=self.user.login if self.user else "",
            open=self.state == "open",
            labels=self.label_names,
            html_url=self.html_url,
            assignees=tuple(user.login for user in self.assignees or () if user.login),
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class Comment(Wire):
    """A comment of an issue or pull request; also a review, which has the same fields and a commit."""

    id: int
    body: str | None = None
    user: User | None = None
    html_url: str = ""
    commit_id: str | None = None

    @property
    def author(self) -> str:
        return self.user.login if self.user else ""

    def fact(self) -> forge.Comment:
        return forge.Comment(id=self.id, author=self.author, body=self.body or "", html_url=self.html_url)


class Permission(Wire):
    permission: str = ""
    role_name: str | None = None

    def fact(self) -> forge.Permission:
        """The role where it is one of ours (it tells triage and maintain), else the coarser permission."""
        for word in (self.role_name, self.permission):
            if word in set(forge.Permission):
                return forge.Permission(word)
        return forge.Permission.NONE


class Pointed(Wire):
    sha: str


class Ref(Wire):
    object: Pointed


class TreeHolder(Wire):
    tree: Pointed


class Content(Wire):
    """A file, where the answer is not the list of a folder. `encoding` is `none` above 1 MB."""

    type: str = ""
    path: str = ""
    sha: str = ""
    size: int = 0
    encoding: str = ""
    content: str = ""


class ContentOrFolder(pydantic.RootModel[Content | list[Content]]):
    """What the contents of a path are."""


class Commit(Wire):
    sha: str
    parents: tuple[Pointed, ...] = ()


class ChangedFile(Wire):
    filename: str
    previous_filename: str | None = None


class Comparison(Wire):
    ahead_by: int
    behind_by: int
    merge_base_commit: Pointed
    files: tuple[ChangedFile, ...] | None = ()

    def fact(self) -> forge.Comparison:
        paths = {path for file in self.files or () for path in (file.filename, file.previous_filename) if path}
        return forge.Comparison(
            ahead_by=self.ahead_by,
            behind_by=self.behind_by,
            merge_base_sha=self.merge_base_commit.sha,
            files=tuple(sorted(paths)),
        )


class Home(Wire):
    """The repository a branch of a pull request lives in; its id outlives a rename."""

    id: int = 0


class End(Wire):
    ref: str
    sha: str
    repo: Home | None = None


class Pull(Wire):
    number: int
    head: End
    base: End
    node_id: str = ""
    title: str = ""
    body: str | None = None
    state: str = "open"
    user: User | None = None
    draft: bool = False
    merged: bool = False
    merged_at: datetime | None = None
    mergeable: bool | None = None
    merge_commit_sha: str | None = None
    html_url: str = ""

    @property
    def is_merged(self) -> bool:
        return self.merged or self.merged_at is not None  # lists carry only the time

    @property
    def is_open(self) -> bool:
        return self.state == "open" and not self.is_merged

    @property
    def from_fork(self) -> bool:
        return self.head.repo is None or self.base.repo is None or self.head.repo.id != self.base.repo.id

    def fact(self, repo: refs.Repository) -> forge.PullRequest:
        return forge.PullRequest(
            ref=repo.pull(self.number),
            node_id=self.node_id,
            title=self.title,
            head_branch=self.head.ref,
            head_sha=self.head.sha,
            base_branch=self.base.ref,
            base_sha=self.base.sha,
            open=self.is_open,
            draft=self.draft,
            merged=self.is_merged,
            mergeable=self.mergeable,
            html_url=self.html_url,
        )


class MergeAnswer(Wire):
    sha: str
    merged: bool = True


class Event(Wire):
    event: str = ""
    commit_id: str | None = None


class App(Wire):
    id: int


class Output(Wire):
    title: str | None = None
    summary: str | None = None


class CheckRun(Wire):
    id: int
    name: str
    status: str
    conclusion: str | None = None
    app: App | None = None
    html_url: str | None = None
    details_url: str | None = None
    output: Output | None = None

    @property
    def state(self) -> forge.CheckState:
        """A run that ended in a way we do not know has not passed."""
        if self.status != "completed":
            return forge.CheckState.PENDING
        return _CONCLUSIONS.get(self.conclusion or "", forge.CheckState.FAILURE)

    def fact(self) -> forge.Check:
        output = self.output or Output()
        summary = "\n".join(text for text in (output.title, output.summary) if text)
        return forge.Check(
            name=self.name,
            state=self.state,
            app_id=self.app.id if self.app else None,
            url=self.html_url or self.details_url or "",
            summary=summary[:_SUMMARY_CHARS],
        )


class Status(Wire):
    context: str
    state: str
    target_url: str | None = None
    description: str | None = None

    def fact(self) -> forge.Check:
        return forge.Check(
            name=self.context,
            state=_STATUSES.get(self.state, forge.CheckState.PENDING),
            url=self.target_url or "",
            summary=(self.description or "")[:_SUMMARY_CHARS],
        )


class RequiredContext(Wire):
    """A required check as a ruleset (`integration_id`) or classic protection (`app_id`) writes it; -1 is any app."""

    context: str
    integration_id: int | None = None
    app_id: int | None = None

    def fact(self) -> forge.RequiredCheck:
        app_id = self.integration_id if self.integration_id is not None else self.app_id
        return forge.RequiredCheck(name=self.context, app_id=app_id if app_id is not None and app_id > 0 else None)


class RuleParameters(Wire):
    required_status_checks: tuple[RequiredContext, ...] = ()


class Rule(Wire):
    type: str
    parameters: RuleParameters | None = None

    def required(self) -> list[forge.RequiredCheck]:
        if self.type != "required_status_checks" or self.parameters is None:
            return []
        return [context.fact() for context in self.parameters.required_status_checks]


class RequiredStatusChecks(Wire):
    contexts: tuple[str, ...] = ()
    checks: tuple[RequiredContext, ...] = ()

    def facts(self) -> list[forge.RequiredCheck]:
        """`checks` says which app; `contexts` repeats the names and is all that older servers have."""
        known = [context.fact() for context in self.checks]
        named = {check.name for check in known}
        return known + [forge.RequiredCheck(name=name) for name in self.contexts if name not in named]


class Protection(Wire):
    required_status_checks: RequiredStatusChecks | None = None


class Branch(Wire):
    """A branch as everybody who reads the repository sees it, with a summary of its protection."""

    protection: Protection | None = None

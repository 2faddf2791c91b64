"""The forge port: what a run reads from a forge, and the few effects it makes there.

Every effect is safe to ask for twice: the adapter looks it up by the key in its docstring before making it, so that a
retry after a lost answer finds the first one. Reads are always fresh. Nothing retries in here; errors of
`domain.errors` carry `retry_after` where the forge named a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain import forge, policy, refs


@dataclass(frozen=True)
class Label:
    """A label as a repository defines it; `color` is six hex digits without '#'."""

    name: str
    color: str
    description: str = ""


@dataclass(frozen=True)
class PushCredentials:
    """A token for git over HTTP, narrowed to one repository's contents where the forge can do that."""

    username: str
    token: str
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"PushCredentials(username={self.username!r}, token=…)"


class Forge(Protocol):
    """One forge with one identity. All methods raise `domain.errors.ForgeError` and its subclasses."""

    async def whoami(self) -> str:
        """Login that our comments and pull requests carry."""
        ...

    async def repository(self, repo: refs.Repository) -> forge.RepositoryFacts: ...

    # --- issues ---
    async def issue(self, issue: refs.Issue) -> forge.Issue: ...

    async def open_issues(
        self, repo: refs.Repository, *, label: str, since: datetime | None = None
    ) -> list[forge.Issue]:
        """Open issues with `label` (pull requests left out), oldest first; all pages."""
        ...

    async def permission(self, repo: refs.Repository, login: str) -> forge.Permission: ...

    async def ensure_labels(self, repo: refs.Repository, labels: Sequence[Label]) -> None: ...

    async def swap_labels(self, issue: refs.Issue, *, add: Sequence[str], remove: Sequence[str]) -> None:
        """Add first, then remove what is there; a label that is already right costs no write."""
        ...

    async def assign(self, issue: refs.Issue, login: str) -> None:
        """Best effort: a login that cannot be assigned is no error."""
        ...

    async def close_issue(self, issue: refs.Issue, *, completed: bool) -> None: ...

    async def say(self, issue: refs.Issue, *, key: str, body: str) -> forge.Comment:
        """Post or update our one comment with `key` (a hidden marker in the body) on an issue or pull request."""
        ...

    async def label_names(self, repo: refs.Repository) -> list[str]:
        """Every label that the repository defines, as it spells them."""
        ...

    async def newest_issues(self, repo: refs.Repository, *, most: int) -> list[forge.Issue]:
        """The newest issues, open and closed, newest first; of `most` issues and pull requests together."""
        ...

    async def file_issue(
        self, repo: refs.Repository, *, key: str, title: str, body: str, labels: Sequence[str], since: datetime
    ) -> forge.Filed:
        """Find our issue with `key` (a hidden marker in the body), or open it. `labels` must exist already.

        `since`: nothing with this key was filed before; only what changed later is looked through.
        """
        ...

    # --- branches ---
    async def branch_sha(self, repo: refs.Repository, branch: str) -> str | None: ...

    async def compare(self, repo: refs.Repository, base: str, head: str) -> forge.Comparison: ...

    async def diff(self, repo: refs.Repository, base: str, head: str) -> str:
        """What `head` adds since its merge base with `base`, as a unified diff."""
        ...

    async def read_file(self, repo: refs.Repository, path: str, *, ref: str) -> forge.File | None:
        """A text file as it is at `ref`, at most about 1 MB; None when there is none of that name.

        Raises:
            errors.InvalidRequest: it is a folder, too large, or not UTF-8.
        """
        ...

    async def tree_sha(self, repo: refs.Repository, commit_sha: str) -> str: ...

    async def put_branch(self, repo: refs.Repository, branch: str, sha: str) -> None:
        """Make `branch` point at `sha`, forcing; only for branches of ours (`fettle/`)."""
        ...

    async def delete_branch(self, repo: refs.Repository, branch: str) -> None:
        """A branch that is already gone is no error; only for branches of ours (`fettle/`)."""
        ...

    async def merge_into(self, repo: refs.Repository, branch: str, head_sha: str, message: str) -> str:
        """Merge `head_sha` into `branch` with a merge commit and return the new tip (the present tip when nothing was
        to merge).

        Raises:
            errors.NotMergeable: the two conflict.
        """
        ...

    # --- pull requests ---
    async def find_pull_request(self, repo: refs.Repository, *, head_branch: str) -> forge.PullRequest | None:
        """The open pull request of our branch, else the newest one, whatever its state."""
        ...

    async def pull_request(self, pull: refs.PullRequest) -> forge.PullRequest: ...

    async def open_pull_request(
        self, repo: refs.Repository, *, head_branch: str, base_branch: str, title: str, body: str, draft: bool
    ) -> forge.PullRequest:
        """Find the open pull request of `head_branch`, or open one; title and body are brought up to date."""
        ...

    async def mark_ready(self, pull: forge.PullRequest) -> None: ...

    async def close_pull_request(self, pull: refs.PullRequest) -> None: ...

    async def review(
        self, pull: refs.PullRequest, *, key: str, head_sha: str, event: forge.ReviewEvent, body: str
    ) -> None:
        """Post our review `key` of exactly `head_sha`, once."""
        ...

    # --- CI ---
    async def checks(self, repo: refs.Repository, sha: str) -> list[forge.Check]:
        """Newest result per check name of this commit: check runs and commit statuses together, all pages."""
        ...

    async def required_checks(self, repo: refs.Repository, branch: str) -> list[forge.RequiredCheck]:
        """Contexts that protection and rulesets require; empty when there are none or we may not read them."""
        ...

    # --- merge ---
    async def merge(
        self, pull: refs.PullRequest, *, head_sha: str, method: policy.MergeMethod, title: str
    ) -> forge.Merge:
        """Merge exactly `head_sha`. A pull request that is already merged at this head reports that merge.

        Raises:
            errors.HeadMoved: the head is another commit now.
            errors.NotMergeable: conflict, draft, closed, or protection.
        """
        ...

    # --- git ---
    def clone_url(self, repo: refs.Repository) -> str:
        """Without credentials."""
        ...

    async def push_credentials(self, repo: refs.Repository) -> PushCredentials: ...

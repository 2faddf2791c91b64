"""The one place where a moved ref becomes consequences.

Whoever moves refs (a push, the refs API, a merge) holds the repository's lock, moves them in git, and then calls
`refs`. It compares git with the last known refs in the database, asks git what it needs, and writes everything that
follows in one transaction: the new refs, synchronised, merged and closed pull requests, CI jobs, webhooks. The same
call at start-up finishes what a killed server left undone, because the comparison is all it needs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devforge import ci, clock, database, git, issue_events, pull_events, shapes, state, webhooks

CLOSING = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+#(\d{1,9})\b", re.I)
_MAX_PUSH_COMMITS = 20


@dataclass
class Change:
    """One ref that is another commit now; None on the side where it does not exist."""

    name: str
    old: str | None
    new: str | None
    forced: bool = False
    commits: list[git.Commit] = field(default_factory=list)

    @property
    def branch(self) -> str | None:
        """The branch name, or None for a tag."""
        return self.name.removeprefix("refs/heads/") if self.name.startswith("refs/heads/") else None


@dataclass
class Facts:
    """What git said about the changes, gathered before the transaction."""

    changes: list[Change]
    merged: set[int] = field(default_factory=set)
    emptied: set[int] = field(default_factory=set)
    plans: dict[str, ci.Declaration] = field(default_factory=dict)


async def refs(forge: state.Forge, repo: database.Row, actor_id: int, moved: Mapping[str, str] | None = None) -> None:
    """Record what the refs are now, and everything that follows. The caller holds the repository's lock.

    Args:
        forge: the forge.
        repo: the repository.
        actor_id: the user whom events name.
        moved: the refs that the caller moved, when nobody else can have (ZERO: deleted); without it git is asked.
    """
    known = {row["name"]: row["sha"] for row in forge.db.all("SELECT * FROM refs WHERE repo_id = ?", repo["id"])}
    if moved is None:
        actual = await git.references(forge.git_dir(repo["id"]))
    else:
        actual = {name: sha for name, sha in {**known, **moved}.items() if sha != git.ZERO}
    names = sorted(name for name in {*known, *actual} if known.get(name) != actual.get(name))
    if not names:
        return
    facts = await _gather(forge, repo, [Change(name, known.get(name), actual.get(name)) for name in names])
    with forge.db.transaction():
        for change in facts.changes:
            _store(forge, repo, change)
        for change in facts.changes:
            _push_event(forge, repo, change, actor_id)
            if change.branch is not None:
                _as_head(forge, repo, change, facts, actor_id)
        for change in facts.changes:
            if change.branch is not None:
                _as_base(forge, repo, change, facts, actor_id)
                _run_ci(forge, repo, change, facts)
                _close_by_commits(forge, repo, change, actor_id)


async def _gather(forge: state.Forge, repo: database.Row, changes: list[Change]) -> Facts:
    path, facts = forge.git_dir(repo["id"]), Facts(changes)
    for change in changes:
        if change.new is None or change.branch is None:
            continue
        if change.old is not None:
            change.forced = not await git.is_ancestor(path, change.old, change.new)
        others = [change.old] if change.old else _known_heads(forge, repo, changes)
        if change.new not in others:
            exclude = (f"^{sha}" for sha in others)
            change.commits = await git.commits(path, change.new, *exclude, limit=_MAX_PUSH_COMMITS)
        pulls = _open_pulls(forge, repo, "head_ref", change.branch)
        for pull in pulls:
            await git.update(path, f"refs/pull/{pull['number']}/head", change.new)
            if await git.is_ancestor(path, change.new, pull["base_sha"]):
                facts.emptied.add(pull["id"])
        if pulls or ci.wanted(repo, change.branch):
            facts.plans[change.new] = await ci.declared(forge, repo, change.new)
    heads = {change.branch: change.new for change in changes if change.branch}
    for change in changes:
        if change.branch is None or change.new is None:
            continue
        for pull in _open_pulls(forge, repo, "base_ref", change.branch):
            head = heads.get(pull["head_ref"], pull["head_sha"]) or pull["head_sha"]
            merging = pull["pending_merge_sha"] == change.new
            if merging or await git.is_ancestor(path, head, change.new):
                facts.merged.add(pull["id"])
    return facts


def _known_heads(forge: state.Forge, repo: database.Row, changes: list[Change]) -> list[str]:
    moved = {change.name for change in changes}
    rows = forge.db.all(
        "SELECT DISTINCT name, sha FROM refs WHERE repo_id = ? AND name LIKE 'refs/heads/%' LIMIT 200", repo["id"]
    )
    return [row["sha"] for row in rows if row["name"] not in moved]


def _open_pulls(forge: state.Forge, repo: database.Row, column: str, branch: str) -> list[database.Row]:
    return forge.db.all(
        "SELECT i.*, p.head_ref, p.head_sha, p.base_ref, p.base_sha, p.draft, p.pending_merge_sha FROM pulls p "
        f"JOIN issues i ON i.id = p.issue_id WHERE p.repo_id = ? AND p.{column} = ? AND i.state = 'open'",
        repo["id"],
        branch,
    )


def _store(forge: state.Forge, repo: database.Row, change: Change) -> None:
    if change.new is None:
        forge.db.run("DELETE FROM refs WHERE repo_id = ? AND name = ?", repo["id"], change.name)
    else:
        forge.db.run("INSERT OR REPLACE INTO refs VALUES (?, ?, ?)", repo["id"], change.name, change.new)
    forge.db.update("repositories", repo["id"], pushed_at=clock.now(), updated_at=clock.now())


def _push_event(forge: state.Forge, repo: database.Row, change: Change, actor_id: int) -> None:
    def payload() -> dict[str, Any]:
        actor = shapes.user_by_id(forge, actor_id) or {}
        commits = [
            shapes.simple_commit(commit) | {"distinct": True, "url": shapes.page(forge, repo, f"commit/{commit.sha}")}
            for commit in reversed(change.commits)
        ]
        return {
            "ref": change.name,
            "before": change.old or git.ZERO,
            "after": change.new or git.ZERO,
            "created": change.old is None,
            "deleted": change.new is None,
            "forced": change.forced,
            "base_ref": None,
            "compare": shapes.page(forge, repo, f"commit/{change.new or change.old}"),
            "commits": commits,
            "head_commit": commits[-1] if commits else None,
            "pusher": {"name": actor.get("login"), "email": None},
        }

    webhooks.emit(forge, repo, "push", None, actor_id, payload)


def _as_head(forge: state.Forge, repo: database.Row, change: Change, facts: Facts, actor_id: int) -> None:
    """A pull request follows its head branch; without the branch, or with nothing left to merge, it closes."""
    for pull in _open_pulls(forge, repo, "head_ref", change.branch or ""):
        if change.new is None:
            if pull["id"] not in facts.merged:
                pull_events.close(forge, repo, pull["id"], actor_id)
            continue
        forge.db.update("pulls", pull["id"], "issue_id", head_sha=change.new, pending_merge_sha=None)
        forge.db.update("issues", pull["id"], updated_at=clock.now())
        issue_events.note(forge, pull["id"], actor_id, "head_moved", {"before": change.old, "after": change.new})
        pull_events.emit(forge, repo, pull["id"], "synchronize", actor_id, {"before": change.old, "after": change.new})
        ci.schedule(forge, repo, change.new, change.branch or "", facts.plans[change.new])
        if pull["id"] in facts.emptied:
            pull_events.close(forge, repo, pull["id"], actor_id)


def _as_base(forge: state.Forge, repo: database.Row, change: Change, facts: Facts, actor_id: int) -> None:
    """A pull request is merged when its head is reachable from its base, however that came about."""
    for pull in _open_pulls(forge, repo, "base_ref", change.branch or ""):
        if change.new is None:
            pull_events.close(forge, repo, pull["id"], actor_id)
        elif pull["id"] in facts.merged:
            pull_events.merged(forge, repo, pull["id"], change.new, change.old or pull["base_sha"], actor_id)
            if change.branch == repo["default_branch"]:
                text = f"{pull['title']}\n{pull['body'] or ''}"
                close_mentioned(forge, repo, text, actor_id)
        else:
            forge.db.update("pulls", pull["id"], "issue_id", base_sha=change.new)


def close_mentioned(forge: state.Forge, repo: database.Row, text: str, actor_id: int) -> None:
    """Close the issues that a merged text promises to close."""
    for number in dict.fromkeys(int(match[1]) for match in CLOSING.finditer(text)):
        row = forge.db.one(
            "SELECT i.* FROM issues i LEFT JOIN pulls p ON p.issue_id = i.id "
            "WHERE i.repo_id = ? AND i.number = ? AND i.state = 'open' AND p.issue_id IS NULL",
            repo["id"],
            number,
        )
        if row is not None:
            issue_events.close(forge, repo, row["id"], actor_id, "completed")


def _run_ci(forge: state.Forge, repo: database.Row, change: Change, facts: Facts) -> None:
    if change.new is not None and change.branch is not None and ci.wanted(repo, change.branch):
        ci.schedule(forge, repo, change.new, change.branch, facts.plans[change.new])


def _close_by_commits(forge: state.Forge, repo: database.Row, change: Change, actor_id: int) -> None:
    if change.branch == repo["default_branch"] and change.old is not None:
        for commit in change.commits:
            close_mentioned(forge, repo, commit.message, actor_id)

"""Pull requests as rows: their shape, their events, and how they close or become merged."""

from typing import Any

from devforge import clock, database, git, issue_events, pull_facts, rest, shapes, state, webhooks

SELECT = (
    "SELECT i.*, p.head_ref, p.head_sha, p.base_ref, p.base_sha, p.draft, p.merged_at, p.merged_by, p.merge_sha, "
    "p.pending_merge_sha FROM pulls p JOIN issues i ON i.id = p.issue_id"
)


def get(forge: state.Forge, issue_id: int) -> database.Row:
    """A pull request that exists."""
    return forge.db.get(f"{SELECT} WHERE i.id = ?", issue_id)


def _side(forge: state.Forge, repo: database.Row, name: str, sha: str, full: dict[str, Any]) -> dict[str, Any]:
    return {
        "label": f"{repo['owner']}:{name}",
        "ref": name,
        "sha": sha,
        "user": full["owner"],
        "repo": full,
    }


def _addresses(forge: state.Forge, repo: database.Row, pull: database.Row) -> dict[str, Any]:
    """Every link of a pull request."""
    number = pull["number"]
    url, page = shapes.api(forge, repo, f"pulls/{number}"), shapes.page(forge, repo, f"pull/{number}")
    issue = shapes.api(forge, repo, f"issues/{number}")
    links = {
        "html": page,
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": shapes.api(forge, repo, "pulls/comments{/number}"),
        "commits": f"{url}/commits",
        "statuses": shapes.api(forge, repo, f"statuses/{pull['head_sha']}"),
    }
    return {
        "url": url,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        **{f"{name}_url": link for name, link in links.items()},
        "_links": {name: {"href": link} for name, link in {"self": url, **links}.items()},
    }


def simple(
    forge: state.Forge,
    repo: database.Row,
    pull: database.Row,
    version: str = rest.VERSIONS[0],
    whole: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A pull request as lists show it; `whole` is the repository when the caller already has its shape."""
    whole = whole or shapes.repository(forge, repo)
    people = issue_events.assignees(forge, pull["id"])
    reviewers = forge.db.all(
        "SELECT u.* FROM users u JOIN requested_reviewers q ON q.user_id = u.id WHERE q.issue_id = ?", pull["id"]
    )
    found = _addresses(forge, repo, pull) | {
        "id": pull["id"],
        "node_id": shapes.node("PR", pull["id"]),
        "number": pull["number"],
        "state": pull["state"],
        "locked": False,
        "title": pull["title"],
        "user": shapes.user_by_id(forge, pull["user_id"]),
        "body": pull["body"],
        "labels": issue_events.labels(forge, repo, pull["id"]),
        "milestone": None,
        "active_lock_reason": None,
        "created_at": pull["created_at"],
        "updated_at": pull["updated_at"],
        "closed_at": pull["closed_at"],
        "merged_at": pull["merged_at"],
        "merge_commit_sha": pull["merge_sha"],
        "assignee": people[0] if people else None,
        "assignees": people,
        "requested_reviewers": [shapes.user(forge, row) for row in reviewers],
        "requested_teams": [],
        "head": _side(forge, repo, pull["head_ref"], pull["head_sha"], whole),
        "base": _side(forge, repo, pull["base_ref"], pull["base_sha"], whole),
        "author_association": shapes.association(forge, repo, pull["user_id"]),
        "auto_merge": None,
        "draft": bool(pull["draft"]),
    }
    if version == rest.NEWEST_VERSION:
        del found["merge_commit_sha"], found["assignee"]
    return found


def full(
    forge: state.Forge,
    repo: database.Row,
    pull: database.Row,
    facts: pull_facts.Facts,
    version: str = rest.VERSIONS[0],
) -> dict[str, Any]:
    """A pull request as its own endpoint shows it."""
    open_ = pull["state"] == "open"
    return simple(forge, repo, pull, version) | {
        "merged": pull["merged_at"] is not None,
        "mergeable": facts.mergeable if open_ else None,
        "rebaseable": facts.mergeable if open_ else None,
        "mergeable_state": pull_facts.merge_state(forge, repo, pull, facts),
        "merged_by": shapes.user_by_id(forge, pull["merged_by"]),
        "comments": forge.db.scalar("SELECT count(*) FROM comments WHERE issue_id = ?", pull["id"]),
        "review_comments": forge.db.scalar("SELECT count(*) FROM review_comments WHERE issue_id = ?", pull["id"]),
        "maintainer_can_modify": False,
        "commits": facts.commits,
        "additions": facts.additions,
        "deletions": facts.deletions,
        "changed_files": facts.changed_files,
    }


def emit(
    forge: state.Forge,
    repo: database.Row,
    issue_id: int,
    action: str,
    actor_id: int,
    extra: dict[str, Any] | None = None,
) -> None:
    """Emit a `pull_request` event; what was not yet computed about the two commits is null or zero in it."""

    def payload() -> dict[str, Any]:
        pull = get(forge, issue_id)
        facts = pull_facts.cached(repo, pull, str(forge.root))
        return {"number": pull["number"], "pull_request": full(forge, repo, pull, facts), **(extra or {})}

    webhooks.emit(forge, repo, "pull_request", action, actor_id, payload)


def close(forge: state.Forge, repo: database.Row, issue_id: int, actor_id: int) -> None:
    """Close a pull request without merging it."""
    issue_events.set_closed(forge, issue_id, actor_id, None)
    emit(forge, repo, issue_id, "closed", actor_id)


def reopen(forge: state.Forge, repo: database.Row, issue_id: int, actor_id: int) -> None:
    """Reopen a pull request."""
    issue_events.set_open(forge, issue_id, actor_id, None)
    emit(forge, repo, issue_id, "reopened", actor_id)


def merged(forge: state.Forge, repo: database.Row, issue_id: int, merge_sha: str, base_sha: str, actor_id: int) -> None:
    """Record that the head of a pull request is now in its base; `base_sha` is the base before that."""
    forge.db.update(
        "pulls",
        issue_id,
        "issue_id",
        merged_at=clock.now(),
        merged_by=actor_id,
        merge_sha=merge_sha,
        base_sha=base_sha,
        pending_merge_sha=None,
        draft=0,
    )
    issue_events.note(forge, issue_id, actor_id, "merged", {"sha": merge_sha})
    issue_events.set_closed(forge, issue_id, actor_id, None)
    emit(forge, repo, issue_id, "closed", actor_id)


async def set_head_ref(forge: state.Forge, repo: database.Row, number: int, sha: str) -> None:
    """Keep `refs/pull/N/head` on the head of a pull request."""
    await git.update(forge.git_dir(repo["id"]), f"refs/pull/{number}/head", sha)

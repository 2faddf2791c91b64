"""Issues as rows: their shape, their timeline, their events, and closing and reopening them."""

from typing import Any

from devforge import clock, database, rest, shapes, state, webhooks


def note(forge: state.Forge, issue_id: int, actor_id: int, event: str, detail: dict[str, Any] | None = None) -> None:
    """Add an entry to the timeline that the page shows."""
    forge.db.insert(
        "timeline",
        issue_id=issue_id,
        user_id=actor_id,
        event=event,
        detail=database.dump(detail or {}),
        created_at=clock.now(),
    )


def labels(forge: state.Forge, repo: database.Row, issue_id: int) -> list[dict[str, Any]]:
    """The labels of an issue, by name."""
    rows = forge.db.all(
        "SELECT l.* FROM labels l JOIN issue_labels il ON il.label_id = l.id WHERE il.issue_id = ? ORDER BY l.name",
        issue_id,
    )
    return [shapes.label(forge, repo, row) for row in rows]


def assignees(forge: state.Forge, issue_id: int) -> list[dict[str, Any]]:
    """The people an issue is assigned to."""
    rows = forge.db.all(
        "SELECT u.* FROM users u JOIN issue_assignees a ON a.user_id = u.id WHERE a.issue_id = ? ORDER BY u.login",
        issue_id,
    )
    return [shapes.user(forge, row) for row in rows]


def shape(forge: state.Forge, repo: database.Row, issue_id: int, version: str = rest.VERSIONS[0]) -> dict[str, Any]:
    """An issue; a pull request is one too and has a `pull_request` key."""
    row = forge.db.get("SELECT * FROM issues WHERE id = ?", issue_id)
    pull = forge.db.one("SELECT * FROM pulls WHERE issue_id = ?", issue_id)
    url = shapes.api(forge, repo, f"issues/{row['number']}")
    people = assignees(forge, issue_id)
    kind = "issues" if pull is None else "pull"
    found: dict[str, Any] = {
        "url": url,
        "repository_url": shapes.api(forge, repo),
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": shapes.page(forge, repo, f"{kind}/{row['number']}"),
        "id": row["id"],
        "node_id": shapes.node("I" if pull is None else "PR", row["id"]),
        "number": row["number"],
        "title": row["title"],
        "user": shapes.user_by_id(forge, row["user_id"]),
        "labels": labels(forge, repo, issue_id),
        "state": row["state"],
        "locked": False,
        "assignee": people[0] if people else None,
        "assignees": people,
        "milestone": None,
        "comments": forge.db.scalar("SELECT count(*) FROM comments WHERE issue_id = ?", issue_id),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "closed_at": row["closed_at"],
        "author_association": shapes.association(forge, repo, row["user_id"]),
        "active_lock_reason": None,
        "body": row["body"],
        "closed_by": shapes.user_by_id(forge, row["closed_by"]),
        "reactions": shapes.reactions(url),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": None,
        "state_reason": row["state_reason"],
    }
    if pull is not None:
        found |= {"draft": bool(pull["draft"]), "pull_request": _as_pull(forge, repo, row["number"], pull["merged_at"])}
    if version == rest.NEWEST_VERSION:
        del found["assignee"]
    return found


def _as_pull(forge: state.Forge, repo: database.Row, number: int, merged_at: str | None) -> dict[str, Any]:
    page = shapes.page(forge, repo, f"pull/{number}")
    return {
        "url": shapes.api(forge, repo, f"pulls/{number}"),
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "merged_at": merged_at,
    }


def emit(
    forge: state.Forge,
    repo: database.Row,
    issue_id: int,
    action: str,
    actor_id: int,
    extra: dict[str, Any] | None = None,
) -> None:
    """Emit an `issues` event."""
    webhooks.emit(
        forge, repo, "issues", action, actor_id, lambda: {"issue": shape(forge, repo, issue_id), **(extra or {})}
    )


def set_closed(forge: state.Forge, issue_id: int, actor_id: int, reason: str | None) -> None:
    """Write the closed state and its timeline entry, without an event."""
    now = clock.now()
    forge.db.update(
        "issues", issue_id, state="closed", state_reason=reason, closed_at=now, updated_at=now, closed_by=actor_id
    )
    note(forge, issue_id, actor_id, "closed", {"reason": reason} if reason else {})


def set_open(forge: state.Forge, issue_id: int, actor_id: int, reason: str | None) -> None:
    """Write the open state and its timeline entry, without an event."""
    forge.db.update(
        "issues", issue_id, state="open", state_reason=reason, closed_at=None, updated_at=clock.now(), closed_by=None
    )
    note(forge, issue_id, actor_id, "reopened")


def close(forge: state.Forge, repo: database.Row, issue_id: int, actor_id: int, reason: str) -> None:
    """Close an issue that is no pull request."""
    set_closed(forge, issue_id, actor_id, reason)
    emit(forge, repo, issue_id, "closed", actor_id)


def reopen(forge: state.Forge, repo: database.Row, issue_id: int, actor_id: int) -> None:
    """Reopen an issue that is no pull request."""
    set_open(forge, issue_id, actor_id, "reopened")
    emit(forge, repo, issue_id, "reopened", actor_id)

"""Comments on issues and pull requests."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, clock, database, errors, issue_events, issues, rest, shapes, webhooks

_MAX = 65_536


def shape(call: rest.Call, repo: database.Row, row: database.Row) -> dict[str, Any]:
    """An issue comment."""
    number = call.db.scalar("SELECT number FROM issues WHERE id = ?", row["issue_id"])
    is_pull = call.db.one("SELECT 1 FROM pulls WHERE issue_id = ?", row["issue_id"])
    url = shapes.api(call.forge, repo, f"issues/comments/{row['id']}")
    page = shapes.page(call.forge, repo, f"{'pull' if is_pull else 'issues'}/{number}")
    return {
        "url": url,
        "html_url": f"{page}#issuecomment-{row['id']}",
        "issue_url": shapes.api(call.forge, repo, f"issues/{number}"),
        "id": row["id"],
        "node_id": shapes.node("IC", row["id"]),
        "user": shapes.user_by_id(call.forge, row["user_id"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "author_association": shapes.association(call.forge, repo, row["user_id"]),
        "body": row["body"],
        "reactions": shapes.reactions(url),
        "performed_via_github_app": None,
    }


def _emit(call: rest.Call, repo: database.Row, row: database.Row, action: str, **extra: Any) -> None:
    webhooks.emit(
        call.forge,
        repo,
        "issue_comment",
        action,
        call.who.user_id,
        lambda: {
            "issue": issue_events.shape(call.forge, repo, row["issue_id"]),
            "comment": shape(call, repo, row),
            **extra,
        },
    )


def _text(call: rest.Call) -> str:
    body = call.text("body", "IssueComment")
    if not body.strip():
        raise errors.invalid("IssueComment", "body", "missing_field", "body can't be blank")
    if len(body) > _MAX:
        raise errors.invalid("IssueComment", "body", "custom", f"body is too long (maximum is {_MAX} characters)")
    return body


def _find(call: rest.Call, repo: database.Row) -> database.Row:
    row = call.db.one(
        "SELECT c.* FROM comments c JOIN issues i ON i.id = c.issue_id WHERE i.repo_id = ? AND c.id = ?",
        repo["id"],
        call.number("comment_id"),
    )
    if row is None:
        raise errors.not_found()
    return row


def _since(call: rest.Call) -> str:
    if not (since := call.query("since")):
        return ""
    try:
        return clock.parse(since.replace(" ", "+")).astimezone(clock.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError as bad:
        raise errors.invalid("IssueComment", "since") from bad


async def list_issue(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/issues/{number}/comments"""
    repo = call.repository("issues:read", "pull_requests:read")
    rows, total = call.select(
        "SELECT * FROM comments WHERE issue_id = ? AND updated_at >= ? ORDER BY id",
        issues.find(call, repo)["id"],
        _since(call),
    )
    return call.paged((shape(call, repo, row) for row in rows), total)


async def list_repository(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/issues/comments"""
    repo = call.repository("issues:read", "pull_requests:read")
    way = "DESC" if call.query("direction") == "desc" else "ASC"
    rows, total = call.select(
        "SELECT c.* FROM comments c JOIN issues i ON i.id = c.issue_id "
        f"WHERE i.repo_id = ? AND c.updated_at >= ? ORDER BY c.id {way}",
        repo["id"],
        _since(call),
    )
    return call.paged((shape(call, repo, row) for row in rows), total)


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/issues/{number}/comments"""
    auth.signed_in(call.who)
    if call.who.kind == "user":
        repo = call.repository("issues:comment")
    else:
        repo = call.repository("issues:write", "pull_requests:write")
    issue, now = issues.find(call, repo), clock.now()
    body = _text(call)
    with call.db.transaction():
        comment_id = call.db.insert(
            "comments", issue_id=issue["id"], user_id=call.who.user_id, body=body, created_at=now, updated_at=now
        )
        call.db.update("issues", issue["id"], updated_at=now)
        row = call.db.get("SELECT * FROM comments WHERE id = ?", comment_id)
        _emit(call, repo, row, "created")
    found = shape(call, repo, row)
    return rest.answer(found, 201, {"Location": found["url"]})


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/issues/comments/{comment_id}"""
    repo = call.repository("issues:read", "pull_requests:read")
    return rest.answer(shape(call, repo, _find(call, repo)))


def _own(call: rest.Call) -> tuple[database.Row, database.Row]:
    """The repository and a comment that the caller may change: their own, or any with write access."""
    auth.signed_in(call.who)
    repo = call.repository()
    row = _find(call, repo)
    if row["user_id"] != call.who.user_id or call.who.kind == "installation":
        auth.require(call.forge, call.who, repo, "issues:write", "pull_requests:write")
    return repo, row


async def patch(call: rest.Call) -> Response:
    """PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}"""
    repo, row = _own(call)
    body = _text(call)
    with call.db.transaction():
        call.db.update("comments", row["id"], body=body, updated_at=clock.now())
        new = call.db.get("SELECT * FROM comments WHERE id = ?", row["id"])
        _emit(call, repo, new, "edited", changes={"body": {"from": row["body"]}})
    return rest.answer(shape(call, repo, new))


async def delete(call: rest.Call) -> Response:
    """DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}"""
    repo, row = _own(call)
    with call.db.transaction():
        _emit(call, repo, row, "deleted")
        call.db.run("DELETE FROM comments WHERE id = ?", row["id"])
    return rest.answer(status=204)


_ISSUES = "/repos/{owner}/{repo}/issues"
ROUTES: list[Route] = [
    rest.route("GET", f"{_ISSUES}/comments", list_repository),
    rest.route("GET", f"{_ISSUES}/comments/{{comment_id}}", get),
    rest.route("PATCH", f"{_ISSUES}/comments/{{comment_id}}", patch),
    rest.route("DELETE", f"{_ISSUES}/comments/{{comment_id}}", delete),
    rest.route("GET", f"{_ISSUES}/{{number:int}}/comments", list_issue),
    rest.route("POST", f"{_ISSUES}/{{number:int}}/comments", create),
]

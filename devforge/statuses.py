"""Commit statuses over REST."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import clock, database, errors, git, rest, revisions, shapes, verdicts, webhooks

_STATES = ("error", "failure", "pending", "success")


def shape(call: rest.Call, repo: database.Row, row: database.Row) -> dict[str, Any]:
    """A commit status."""
    return {
        "url": shapes.api(call.forge, repo, f"statuses/{row['sha']}"),
        "avatar_url": f"{call.forge.url}/_static/avatar.svg",
        "id": row["id"],
        "node_id": shapes.node("SC", row["id"]),
        "state": row["state"],
        "description": row["description"],
        "target_url": row["target_url"],
        "context": row["context"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "creator": shapes.user_by_id(call.forge, row["user_id"]),
    }


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/statuses/{sha}"""
    repo = call.repository("statuses:write")
    commit = await revisions.commit(call, repo, call.param("sha"))
    word = call.text("state", "Status")
    if word not in _STATES:
        raise errors.invalid("Status", "state")
    now = clock.now()
    with call.db.transaction():
        status_id = call.db.insert(
            "statuses",
            repo_id=repo["id"],
            sha=commit.sha,
            context=call.text("context", "Status", "default"),
            state=word,
            description=call.optional("description", "Status"),
            target_url=call.optional("target_url", "Status"),
            user_id=call.who.user_id,
            created_at=now,
            updated_at=now,
        )
        row = call.db.get("SELECT * FROM statuses WHERE id = ?", status_id)
        webhooks.emit(call.forge, repo, "status", None, call.who.user_id, lambda: _payload(call, repo, row, commit))
    return rest.answer(shape(call, repo, row), 201)


def _payload(call: rest.Call, repo: database.Row, row: database.Row, commit: git.Commit) -> dict[str, Any]:
    branches = call.db.all(
        "SELECT name, sha FROM refs WHERE repo_id = ? AND sha = ? AND name LIKE 'refs/heads/%'", repo["id"], row["sha"]
    )
    url = shapes.api(call.forge, repo, f"commits/{row['sha']}")
    return {
        "id": row["id"],
        "sha": row["sha"],
        "name": f"{repo['owner']}/{repo['name']}",
        "avatar_url": f"{call.forge.url}/_static/avatar.svg",
        "target_url": row["target_url"],
        "context": row["context"],
        "description": row["description"],
        "state": row["state"],
        "commit": shapes.commit(call.forge, repo, commit),
        "branches": [
            {
                "name": branch["name"].removeprefix("refs/heads/"),
                "commit": {"sha": branch["sha"], "url": url},
                "protected": False,
            }
            for branch in branches
        ],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


async def combined(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/commits/{ref}/status"""
    repo = call.repository("statuses:read")
    sha = await revisions.resolve(call, repo, call.param("ref"))
    rows = verdicts.latest_statuses(call.forge, repo["id"], sha)
    words = {row["state"] for row in rows}
    state = "failure" if words & {"error", "failure"} else "pending" if "pending" in words or not rows else "success"
    url = shapes.api(call.forge, repo, f"commits/{sha}")
    found = {
        "state": state,
        "statuses": [shape(call, repo, row) for row in call.cut(rows)],
        "sha": sha,
        "total_count": len(rows),
        "repository": shapes.minimal_repository(call.forge, repo),
        "commit_url": url,
        "url": f"{url}/status",
    }
    return rest.answer(found)


async def list_all(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/commits/{ref}/statuses"""
    repo = call.repository("statuses:read")
    sha = await revisions.resolve(call, repo, call.param("ref"))
    rows, total = call.select("SELECT * FROM statuses WHERE repo_id = ? AND sha = ? ORDER BY id DESC", repo["id"], sha)
    return call.paged((shape(call, repo, row) for row in rows), total)


_REPO = "/repos/{owner}/{repo}"
ROUTES: list[Route] = [
    rest.route("POST", f"{_REPO}/statuses/{{sha}}", create),
    rest.route("GET", f"{_REPO}/commits/{{ref:path}}/status", combined),
    rest.route("GET", f"{_REPO}/commits/{{ref:path}}/statuses", list_all),
]

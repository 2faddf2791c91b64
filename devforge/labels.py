"""Labels of a repository and of an issue."""

import re
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import clock, database, errors, issue_events, pull_events, rest, shapes, state


def announce(
    forge: state.Forge, repo: database.Row, issue_id: int, action: str, actor_id: int, extra: dict[str, Any]
) -> None:
    """Emit an event that issues and pull requests have in common."""
    is_pull = forge.db.one("SELECT 1 FROM pulls WHERE issue_id = ?", issue_id)
    (pull_events if is_pull else issue_events).emit(forge, repo, issue_id, action, actor_id, extra)


def find(forge: state.Forge, repo: database.Row, name: str) -> database.Row | None:
    """A label by name, whatever its case."""
    return forge.db.one("SELECT * FROM labels WHERE repo_id = ? AND name = ?", repo["id"], name)


def ensure(forge: state.Forge, repo: database.Row, name: str) -> database.Row:
    """The label with this name; like GitHub, naming an unknown one creates it.

    Raises:
        ApiError: 422 for a name that no label can have.
    """
    if (row := find(forge, repo, name)) is not None:
        return row
    if not name.strip() or len(name) > 50:
        raise errors.invalid("Label", "name")
    label_id = forge.db.insert("labels", repo_id=repo["id"], name=name, color="ededed", description=None)
    return forge.db.get("SELECT * FROM labels WHERE id = ?", label_id)


def add(forge: state.Forge, repo: database.Row, issue_id: int, names: list[str], actor_id: int) -> None:
    """Put labels on an issue; those it has already cause no event."""
    for row in [ensure(forge, repo, name) for name in names]:
        if forge.db.run("INSERT OR IGNORE INTO issue_labels VALUES (?, ?)", issue_id, row["id"]):
            _changed(forge, repo, issue_id, row, "labeled", actor_id)


def remove(forge: state.Forge, repo: database.Row, issue_id: int, row: database.Row, actor_id: int) -> bool:
    """Take a label off an issue; whether it was there."""
    if not forge.db.run("DELETE FROM issue_labels WHERE issue_id = ? AND label_id = ?", issue_id, row["id"]):
        return False
    _changed(forge, repo, issue_id, row, "unlabeled", actor_id)
    return True


def replace(forge: state.Forge, repo: database.Row, issue_id: int, names: list[str], actor_id: int) -> None:
    """Make these the labels of an issue."""
    wanted = {ensure(forge, repo, name)["id"] for name in names}
    present = forge.db.all(
        "SELECT l.* FROM labels l JOIN issue_labels il ON il.label_id = l.id WHERE il.issue_id = ?", issue_id
    )
    for row in present:
        if row["id"] not in wanted:
            remove(forge, repo, issue_id, row, actor_id)
    add(forge, repo, issue_id, names, actor_id)


def _changed(
    forge: state.Forge, repo: database.Row, issue_id: int, row: database.Row, action: str, actor_id: int
) -> None:
    forge.db.update("issues", issue_id, updated_at=clock.now())
    issue_events.note(forge, issue_id, actor_id, action, {"label": row["name"], "color": row["color"]})
    announce(forge, repo, issue_id, action, actor_id, {"label": shapes.label(forge, repo, row)})


def _issue(call: rest.Call, repo: database.Row) -> int:
    found = call.db.scalar("SELECT id FROM issues WHERE repo_id = ? AND number = ?", repo["id"], call.number())
    if found is None:
        raise errors.not_found()
    return int(found)


def _names(call: rest.Call) -> list[str]:
    """The names in a body `{"labels": [...]}` or in a bare list, of strings or of objects with a name."""
    value = call.data.get("labels", call.data.get("", []))
    if not isinstance(value, list):
        raise errors.invalid("Label", "labels")
    names = [item.get("name") if isinstance(item, dict) else item for item in value]
    if not all(isinstance(name, str) for name in names):
        raise errors.invalid("Label", "name")
    return [str(name) for name in names]


async def list_repository(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/labels"""
    repo = call.repository("issues:read")
    rows, total = call.select("SELECT * FROM labels WHERE repo_id = ? ORDER BY name", repo["id"])
    return call.paged((shapes.label(call.forge, repo, row) for row in rows), total)


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/labels"""
    repo = call.repository("issues:write", "pull_requests:write")
    name, color = call.text("name", "Label"), call.text("color", "Label", "ededed")
    if not name.strip() or len(name) > 50:
        raise errors.invalid("Label", "name")
    if not re.fullmatch(r"[0-9a-fA-F]{6}", color):
        raise errors.invalid("Label", "color")
    if find(call.forge, repo, name):
        raise errors.invalid("Label", "name", "already_exists")
    label_id = call.db.insert(
        "labels",
        repo_id=repo["id"],
        name=name,
        color=color.lower(),
        description=call.optional("description", "Label"),
    )
    row = call.db.get("SELECT * FROM labels WHERE id = ?", label_id)
    return rest.answer(shapes.label(call.forge, repo, row), 201)


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/labels/{name}"""
    repo = call.repository("issues:read")
    if (row := find(call.forge, repo, call.param("name"))) is None:
        raise errors.not_found()
    return rest.answer(shapes.label(call.forge, repo, row))


async def delete(call: rest.Call) -> Response:
    """DELETE /repos/{owner}/{repo}/labels/{name}"""
    repo = call.repository("issues:write", "pull_requests:write")
    if (row := find(call.forge, repo, call.param("name"))) is None:
        raise errors.not_found()
    with call.db.transaction():
        call.db.run("DELETE FROM issue_labels WHERE label_id = ?", row["id"])
        call.db.run("DELETE FROM labels WHERE id = ?", row["id"])
    return rest.answer(status=204)


async def list_issue(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/issues/{number}/labels"""
    repo = call.repository("issues:read", "pull_requests:read")
    found = issue_events.labels(call.forge, repo, _issue(call, repo))
    return call.paged(call.cut(found), len(found))


async def add_issue(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/issues/{number}/labels"""
    repo = call.repository("issues:write", "pull_requests:write")
    issue_id = _issue(call, repo)
    with call.db.transaction():
        add(call.forge, repo, issue_id, _names(call), call.who.user_id)
    return rest.answer(issue_events.labels(call.forge, repo, issue_id))


async def set_issue(call: rest.Call) -> Response:
    """PUT /repos/{owner}/{repo}/issues/{number}/labels"""
    repo = call.repository("issues:write", "pull_requests:write")
    issue_id = _issue(call, repo)
    with call.db.transaction():
        replace(call.forge, repo, issue_id, _names(call), call.who.user_id)
    return rest.answer(issue_events.labels(call.forge, repo, issue_id))


async def remove_issue(call: rest.Call) -> Response:
    """DELETE /repos/{owner}/{repo}/issues/{number}/labels/{name}"""
    repo = call.repository("issues:write", "pull_requests:write")
    issue_id = _issue(call, repo)
    row = find(call.forge, repo, call.param("name"))
    with call.db.transaction():
        if row is None or not remove(call.forge, repo, issue_id, row, call.who.user_id):
            raise errors.ApiError(404, "Label does not exist")
    return rest.answer(issue_events.labels(call.forge, repo, issue_id))


_REPO = "/repos/{owner}/{repo}"
ROUTES: list[Route] = [
    rest.route("GET", f"{_REPO}/labels", list_repository),
    rest.route("POST", f"{_REPO}/labels", create),
    rest.route("GET", f"{_REPO}/labels/{{name:path}}", get),
    rest.route("DELETE", f"{_REPO}/labels/{{name:path}}", delete),
    rest.route("GET", f"{_REPO}/issues/{{number}}/labels", list_issue),
    rest.route("POST", f"{_REPO}/issues/{{number}}/labels", add_issue),
    rest.route("PUT", f"{_REPO}/issues/{{number}}/labels", set_issue),
    rest.route("DELETE", f"{_REPO}/issues/{{number}}/labels/{{name:path}}", remove_issue),
]

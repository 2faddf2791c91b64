"""Issues over REST. A pull request is an issue too: lists contain it, and PATCH closes it."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, clock, database, errors, issue_events, labels, pull_events, rest, shapes

_SORTS = {"created": "i.created_at", "updated": "i.updated_at", "comments": "comment_count"}
_REASONS = ("completed", "not_planned", "duplicate", "reopened")


def find(call: rest.Call, repo: database.Row) -> database.Row:
    """The issue of the path.

    Raises:
        ApiError: 404.
    """
    row = call.db.one("SELECT * FROM issues WHERE repo_id = ? AND number = ?", repo["id"], call.number())
    if row is None:
        raise errors.not_found()
    return row


def insert(call: rest.Call, repo: database.Row, title: str, body: str | None) -> int:
    """Store a new issue under the repository's next number; its id. The caller holds a transaction."""
    number = int(call.db.scalar("SELECT next_number FROM repositories WHERE id = ?", repo["id"]))
    call.db.update("repositories", repo["id"], next_number=number + 1)
    now = clock.now()
    return call.db.insert(
        "issues",
        repo_id=repo["id"],
        number=number,
        title=title,
        body=body,
        user_id=call.who.user_id,
        created_at=now,
        updated_at=now,
    )


def assign(call: rest.Call, repo: database.Row, issue_id: int, logins: list[str]) -> None:
    """Assign people; unknown logins are ignored, as GitHub does. The caller holds a transaction."""
    for login in logins:
        user = call.db.one("SELECT * FROM users WHERE login = ?", login)
        if user and call.db.run("INSERT OR IGNORE INTO issue_assignees VALUES (?, ?)", issue_id, user["id"]):
            issue_events.note(call.forge, issue_id, call.who.user_id, "assigned", {"login": user["login"]})
            extra = {"assignee": shapes.user(call.forge, user)}
            labels.announce(call.forge, repo, issue_id, "assigned", call.who.user_id, extra)


def unassign(call: rest.Call, repo: database.Row, issue_id: int, logins: list[str]) -> None:
    """Take assignments away. The caller holds a transaction."""
    for login in logins:
        user = call.db.one("SELECT * FROM users WHERE login = ?", login)
        if user and call.db.run("DELETE FROM issue_assignees WHERE issue_id = ? AND user_id = ?", issue_id, user["id"]):
            issue_events.note(call.forge, issue_id, call.who.user_id, "unassigned", {"login": user["login"]})
            extra = {"assignee": shapes.user(call.forge, user)}
            labels.announce(call.forge, repo, issue_id, "unassigned", call.who.user_id, extra)


def _filter(call: rest.Call, repo: database.Row) -> tuple[str, list[Any]]:
    """The WHERE clause and its values for the query parameters of the list."""
    clauses, values = ["i.repo_id = ?"], [repo["id"]]
    if (wanted := call.query("state", "open")) != "all":
        if wanted not in ("open", "closed"):
            raise errors.invalid("Issue", "state")
        clauses.append("i.state = ?")
        values.append(wanted)
    for name in filter(None, call.query("labels").split(",")):
        clauses.append(
            "EXISTS (SELECT 1 FROM issue_labels il JOIN labels l ON l.id = il.label_id "
            "WHERE il.issue_id = i.id AND l.name = ?)"
        )
        values.append(name.strip())
    for parameter, column in (("creator", "i.user_id"), ("assignee", "")):
        login = call.query(parameter)
        if login and column:
            clauses.append(f"{column} = (SELECT id FROM users WHERE login = ?)")
            values.append(login)
        elif login and login != "*":
            clauses.append(
                "EXISTS (SELECT 1 FROM issue_assignees a JOIN users u ON u.id = a.user_id "
                "WHERE a.issue_id = i.id AND u.login = ?)"
            )
            values.append(login)
    if since := call.query("since"):
        try:
            values.append(clock.parse(since.replace(" ", "+")).astimezone(clock.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        except ValueError as bad:
            raise errors.invalid("Issue", "since") from bad
        clauses.append("i.updated_at >= ?")
    return " AND ".join(clauses), values


async def list_all(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/issues"""
    repo = call.repository("issues:read")
    where, values = _filter(call, repo)
    column = _SORTS.get(call.query("sort", "created"), _SORTS["created"])
    way = "ASC" if call.query("direction") == "asc" else "DESC"
    rows, total = call.select(
        "SELECT i.id, (SELECT count(*) FROM comments c WHERE c.issue_id = i.id) AS comment_count "
        f"FROM issues i WHERE {where} ORDER BY {column} {way}, i.number {way}",
        *values,
    )
    return call.paged((issue_events.shape(call.forge, repo, row["id"], call.version) for row in rows), total)


def _label_names(call: rest.Call) -> list[str]:
    value = call.data.get("labels") or []
    if not isinstance(value, list):
        raise errors.invalid("Issue", "labels")
    names = [item.get("name") if isinstance(item, dict) else item for item in value]
    if not all(isinstance(name, str) for name in names):
        raise errors.invalid("Issue", "labels")
    return [str(name) for name in names]


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/issues"""
    auth.signed_in(call.who)
    repo = call.repository("issues:comment") if call.who.kind == "user" else call.repository("issues:write")
    title, body = call.text("title", "Issue"), call.optional("body", "Issue")
    if not title.strip():
        raise errors.invalid("Issue", "title", "missing_field")
    names, people = _label_names(call), call.texts("assignees", "Issue")
    may_label = auth.allows(call.forge, call.who, repo, "issues:write")
    with call.db.transaction():
        issue_id = insert(call, repo, title, body)
        issue_events.emit(call.forge, repo, issue_id, "opened", call.who.user_id)
        if may_label:
            labels.add(call.forge, repo, issue_id, names, call.who.user_id)
            assign(call, repo, issue_id, people)
    return rest.answer(issue_events.shape(call.forge, repo, issue_id, call.version), 201)


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/issues/{number}"""
    repo = call.repository("issues:read", "pull_requests:read")
    return rest.answer(issue_events.shape(call.forge, repo, find(call, repo)["id"], call.version))


def retitle(call: rest.Call, row: database.Row, resource: str) -> dict[str, Any]:
    """Write a changed title or body; the `changes` of the edited event. The caller holds a transaction."""
    changes: dict[str, Any] = {}
    for name in ("title", "body"):
        value = call.optional(name, resource)
        if name not in call.data or value == row[name] or (name == "title" and value is None):
            continue
        if name == "title" and not str(value).strip():
            raise errors.invalid(resource, name, "missing_field")
        changes[name] = {"from": row[name]}
        call.db.update("issues", row["id"], **{name: value}, updated_at=clock.now())
    if "title" in changes:
        detail = {"from": row["title"], "to": call.data["title"]}
        issue_events.note(call.forge, row["id"], call.who.user_id, "renamed", detail)
    return changes


def _restate(call: rest.Call, repo: database.Row, row: database.Row) -> None:
    """Follow `state` and `state_reason` of a PATCH. The caller holds a transaction."""
    wanted, reason = call.optional("state", "Issue"), call.optional("state_reason", "Issue")
    if wanted not in (None, "open", "closed"):
        raise errors.invalid("Issue", "state")
    if reason is not None and reason not in _REASONS:
        raise errors.invalid("Issue", "state_reason")
    pull = call.db.one("SELECT merged_at FROM pulls WHERE issue_id = ?", row["id"])
    actor = call.who.user_id
    if wanted == "closed" and row["state"] == "open":
        if pull is not None:
            pull_events.close(call.forge, repo, row["id"], actor)
        else:
            issue_events.close(call.forge, repo, row["id"], actor, reason or "completed")
    elif wanted == "open" and row["state"] == "closed":
        if pull is not None and pull["merged_at"]:
            raise errors.refused("A merged pull request cannot be reopened.", "PullRequest")
        (issue_events if pull is None else pull_events).reopen(call.forge, repo, row["id"], actor)
    elif reason is not None and row["state"] == "closed" and pull is None:
        call.db.update("issues", row["id"], state_reason=reason, updated_at=clock.now())


async def patch(call: rest.Call) -> Response:
    """PATCH /repos/{owner}/{repo}/issues/{number}"""
    auth.signed_in(call.who)
    repo = call.repository()
    row = find(call, repo)
    if row["user_id"] != call.who.user_id or call.who.kind != "user":
        auth.require(call.forge, call.who, repo, "issues:write", "pull_requests:write")
    with call.db.transaction():
        if changes := retitle(call, row, "Issue"):
            labels.announce(call.forge, repo, row["id"], "edited", call.who.user_id, {"changes": changes})
        if "labels" in call.data:
            auth.require(call.forge, call.who, repo, "issues:write", "pull_requests:write")
            labels.replace(call.forge, repo, row["id"], _label_names(call), call.who.user_id)
        if "assignees" in call.data:
            auth.require(call.forge, call.who, repo, "issues:write", "pull_requests:write")
            people = call.texts("assignees", "Issue")
            present = [user["login"] for user in issue_events.assignees(call.forge, row["id"])]
            unassign(call, repo, row["id"], [login for login in present if login not in people])
            assign(call, repo, row["id"], people)
        _restate(call, repo, row)
    return rest.answer(issue_events.shape(call.forge, repo, row["id"], call.version))


async def add_assignees(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/issues/{number}/assignees"""
    repo = call.repository("issues:write", "pull_requests:write")
    row = find(call, repo)
    with call.db.transaction():
        assign(call, repo, row["id"], call.texts("assignees", "Issue"))
    return rest.answer(issue_events.shape(call.forge, repo, row["id"], call.version), 201)


async def remove_assignees(call: rest.Call) -> Response:
    """DELETE /repos/{owner}/{repo}/issues/{number}/assignees"""
    repo = call.repository("issues:write", "pull_requests:write")
    row = find(call, repo)
    with call.db.transaction():
        unassign(call, repo, row["id"], call.texts("assignees", "Issue"))
    return rest.answer(issue_events.shape(call.forge, repo, row["id"], call.version))


_ISSUES = "/repos/{owner}/{repo}/issues"
ROUTES: list[Route] = [
    rest.route("GET", _ISSUES, list_all),
    rest.route("POST", _ISSUES, create),
    rest.route("GET", f"{_ISSUES}/{{number:int}}", get),
    rest.route("PATCH", f"{_ISSUES}/{{number:int}}", patch),
    rest.route("POST", f"{_ISSUES}/{{number:int}}/assignees", add_assignees),
    rest.route("DELETE", f"{_ISSUES}/{{number:int}}/assignees", remove_assignees),
]

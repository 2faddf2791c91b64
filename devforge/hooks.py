"""Webhooks over REST: hooks of a repository, and the delivery log of hooks and apps."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import clock, database, errors, rest, shapes, webhooks


def shape(call: rest.Call, repo: database.Row, row: database.Row) -> dict[str, Any]:
    """A repository hook; the secret is never shown."""
    url = shapes.api(call.forge, repo, f"hooks/{row['id']}")
    last = call.db.one(
        "SELECT status, status_code FROM deliveries WHERE hook_id = ? AND state = 'done' ORDER BY id DESC", row["id"]
    )
    config = {"url": row["url"], "content_type": "json", "insecure_ssl": "0"}
    return {
        "type": "Repository",
        "id": row["id"],
        "name": "web",
        "active": bool(row["active"]),
        "events": database.load(row["events"]),
        "config": config | ({"secret": "********"} if row["secret"] else {}),
        "updated_at": row["updated_at"],
        "created_at": row["created_at"],
        "url": url,
        "test_url": f"{url}/test",
        "ping_url": f"{url}/pings",
        "deliveries_url": f"{url}/deliveries",
        "last_response": {
            "code": last["status_code"] if last else None,
            "status": "active" if last else "unused",
            "message": last["status"] if last else None,
        },
    }


def _find(call: rest.Call, repo: database.Row) -> database.Row:
    row = call.db.one("SELECT * FROM hooks WHERE repo_id = ? AND id = ?", repo["id"], call.number("hook_id"))
    if row is None:
        raise errors.not_found()
    return row


async def list_all(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/hooks"""
    repo = call.repository("repository_hooks:read")
    rows, total = call.select("SELECT * FROM hooks WHERE repo_id = ? ORDER BY id", repo["id"])
    return call.paged((shape(call, repo, row) for row in rows), total)


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/hooks"""
    repo = call.repository("repository_hooks:write")
    config = call.data.get("config")
    if not isinstance(config, dict) or not str(config.get("url", "")).startswith(("http://", "https://")):
        raise errors.invalid("Hook", "url", "missing_field")
    if config.get("content_type", "json") != "json":
        raise errors.invalid("Hook", "content_type", "custom", "this forge delivers JSON only: use json")
    events = call.texts("events", "Hook") or ["push"]
    if unknown := [name for name in events if name not in (*webhooks.EVENTS, "*")]:
        raise errors.invalid("Hook", "events", "custom", f"unknown events: {', '.join(unknown)}")
    secret, now = config.get("secret"), clock.now()
    with call.db.transaction():
        hook_id = call.db.insert(
            "hooks",
            repo_id=repo["id"],
            url=str(config["url"]),
            secret=None if secret is None else str(secret),
            events=database.dump(events),
            active=int(call.flag("active", "Hook", True)),
            created_at=now,
            updated_at=now,
        )
        row = call.db.get("SELECT * FROM hooks WHERE id = ?", hook_id)
        if row["active"]:
            _ping(call, repo, row)
    return rest.answer(shape(call, repo, row), 201)


def _ping(call: rest.Call, repo: database.Row, row: database.Row) -> None:
    body = {
        "zen": "Keep it logically awesome.",
        "hook_id": row["id"],
        "hook": shape(call, repo, row),
        "repository": shapes.repository(call.forge, repo),
        "sender": shapes.user_by_id(call.forge, call.who.user_id),
    }
    webhooks.store(call.forge, row["id"], "ping", None, body, repo["id"], None)


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/hooks/{hook_id}"""
    repo = call.repository("repository_hooks:read")
    return rest.answer(shape(call, repo, _find(call, repo)))


async def ping(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/hooks/{hook_id}/pings"""
    repo = call.repository("repository_hooks:write")
    _ping(call, repo, _find(call, repo))
    return rest.answer(status=204)


async def delete(call: rest.Call) -> Response:
    """DELETE /repos/{owner}/{repo}/hooks/{hook_id}"""
    repo = call.repository("repository_hooks:write")
    call.db.run("DELETE FROM hooks WHERE id = ?", _find(call, repo)["id"])
    return rest.answer(status=204)


def delivery_shape(row: database.Row) -> dict[str, Any]:
    """A delivery as lists show it."""
    return {
        "id": row["id"],
        "guid": row["guid"],
        "delivered_at": row["delivered_at"],
        "redelivery": bool(row["redelivery"]),
        "duration": row["duration"] or 0,
        "status": row["status"],
        "status_code": row["status_code"] or 0,
        "event": row["event"],
        "action": row["action"],
        "installation_id": row["installation_id"],
        "repository_id": row["repo_id"],
        "throttled_at": None,
    }


def _hook_ids(call: rest.Call) -> list[int]:
    """The hooks whose deliveries the caller asks for: one of a repository, or those of the calling app."""
    if "hook_id" in call.request.path_params:
        repo = call.repository("repository_hooks:read")
        return [_find(call, repo)["id"]]
    if call.who.kind != "app":
        raise errors.ApiError(401, "A JSON web token could not be decoded")
    return [row["id"] for row in call.db.all("SELECT id FROM hooks WHERE app_id = ?", call.who.app_id)]


async def deliveries(call: rest.Call) -> Response:
    """GET …/deliveries: finished ones, newest first; `cursor` continues below a delivery id"""
    marks = ", ".join(str(int(hook_id)) for hook_id in _hook_ids(call)) or "0"
    clauses, values = [f"hook_id IN ({marks})", "state = 'done'"], []
    if cursor := call.query("cursor"):
        clauses.append("id < ?")
        values.append(int(cursor) if cursor.isdigit() else 0)
    if (wanted := call.query("status")) in ("success", "failure"):
        clauses.append("status = 'OK'" if wanted == "success" else "status != 'OK'")
    size = call.page()[1]
    rows = call.db.all(
        f"SELECT * FROM deliveries WHERE {' AND '.join(clauses)} ORDER BY id DESC LIMIT ?", *values, size + 1
    )
    headers = {}
    if len(rows) > size:
        base = f"{call.forge.url}{call.request.url.path}?per_page={size}&cursor={rows[size - 1]['id']}"
        headers["Link"] = f'<{base}>; rel="next"'
    return rest.answer([delivery_shape(row) for row in rows[:size]], headers=headers)


def _delivery(call: rest.Call) -> database.Row:
    row = call.db.one("SELECT * FROM deliveries WHERE id = ?", call.number("delivery_id"))
    if row is None or row["hook_id"] not in _hook_ids(call):
        raise errors.not_found()
    return row


async def delivery(call: rest.Call) -> Response:
    """GET …/deliveries/{delivery_id}"""
    row = _delivery(call)
    url = call.db.scalar("SELECT url FROM hooks WHERE id = ?", row["hook_id"])
    found = delivery_shape(row) | {
        "url": url,
        "request": {"headers": database.load(row["request_headers"]), "payload": database.load(row["payload"])},
        "response": {"headers": {}, "payload": row["response"]},
    }
    return rest.answer(found)


async def attempt(call: rest.Call) -> Response:
    """POST …/deliveries/{delivery_id}/attempts"""
    webhooks.again(call.forge, _delivery(call))
    return rest.answer({}, 202)


_HOOKS = "/repos/{owner}/{repo}/hooks"
ROUTES: list[Route] = [
    rest.route("GET", _HOOKS, list_all),
    rest.route("POST", _HOOKS, create),
    rest.route("GET", f"{_HOOKS}/{{hook_id}}", get),
    rest.route("DELETE", f"{_HOOKS}/{{hook_id}}", delete),
    rest.route("POST", f"{_HOOKS}/{{hook_id}}/pings", ping),
]
for _base in (f"{_HOOKS}/{{hook_id}}/deliveries", "/app/hook/deliveries"):
    ROUTES += [
        rest.route("GET", _base, deliveries),
        rest.route("GET", f"{_base}/{{delivery_id}}", delivery),
        rest.route("POST", f"{_base}/{{delivery_id}}/attempts", attempt),
    ]

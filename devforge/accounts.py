"""Users, apps, installations and their tokens over REST."""

import secrets
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, clock, database, errors, repositories, rest, shapes

TOKEN_SECONDS = 3600
_RANK = {"read": 1, "write": 2, "admin": 3}


async def user(call: rest.Call) -> Response:
    """GET /user"""
    if call.who.kind not in ("user", "admin"):
        raise errors.forbidden() if call.who.kind == "installation" else errors.ApiError(401, "Requires authentication")
    return rest.answer(_full_user(call, call.db.get("SELECT * FROM users WHERE id = ?", call.who.user_id)))


async def user_by_login(call: rest.Call) -> Response:
    """GET /users/{username}"""
    row = call.db.one("SELECT * FROM users WHERE login = ?", call.param("username"))
    if row is None:
        raise errors.not_found()
    return rest.answer(_full_user(call, row))


def _full_user(call: rest.Call, row: database.Row) -> dict[str, Any]:
    blank = dict.fromkeys(("company", "blog", "location", "hireable", "bio", "twitter_username"))
    count = call.db.scalar("SELECT count(*) FROM repositories WHERE owner_id = ? AND NOT private", row["id"])
    return shapes.user(call.forge, row) | {
        **blank,
        "name": row["name"],
        "email": row["email"],
        "public_repos": count,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": row["created_at"],
        "updated_at": row["created_at"],
    }


async def rate_limit(call: rest.Call) -> Response:
    """GET /rate_limit"""
    until, used = call.forge.rates.get(call.who.key, (clock.epoch(), 0))
    limit = call.forge.rate_limit
    core = {"limit": limit, "used": used, "remaining": max(0, limit - used), "reset": int(until)}
    found: dict[str, Any] = {"resources": {"core": core, "search": core, "graphql": core}}
    if call.version != rest.NEWEST_VERSION:
        found["rate"] = core
    return rest.answer(found)


def _as_app(call: rest.Call) -> int:
    """The calling app.

    Raises:
        ApiError: 401 unless the caller sent an app's JSON web token.
    """
    if call.who.kind != "app":
        raise errors.ApiError(401, "A JSON web token could not be decoded")
    return call.who.app_id


async def app(call: rest.Call) -> Response:
    """GET /app"""
    return rest.answer(shapes.app(call.forge, _as_app(call)))


def installation_shape(call: rest.Call, row: database.Row) -> dict[str, Any]:
    """An installation of an app."""
    url = f"{call.forge.url}/app/installations/{row['id']}"
    found = shapes.app(call.forge, row["app_id"])
    return {
        "id": row["id"],
        "account": shapes.user_by_id(call.forge, row["account_id"]),
        "repository_selection": "all" if row["repository_ids"] is None else "selected",
        "access_tokens_url": f"{url}/access_tokens",
        "repositories_url": f"{call.forge.url}/installation/repositories",
        "html_url": f"{call.forge.url}/settings/installations/{row['id']}",
        "app_id": row["app_id"],
        "client_id": found["client_id"],
        "target_id": row["account_id"],
        "target_type": "User",
        "permissions": database.load(row["permissions"]),
        "events": found["events"],
        "created_at": row["created_at"],
        "updated_at": row["created_at"],
        "single_file_name": None,
        "app_slug": found["slug"],
        "suspended_by": None,
        "suspended_at": None,
    }


async def installations(call: rest.Call) -> Response:
    """GET /app/installations"""
    rows, total = call.select("SELECT * FROM installations WHERE app_id = ? ORDER BY id", _as_app(call))
    return call.paged((installation_shape(call, row) for row in rows), total)


def _installation(call: rest.Call) -> database.Row:
    row = call.db.one(
        "SELECT * FROM installations WHERE id = ? AND app_id = ?", call.number("installation_id"), _as_app(call)
    )
    if row is None:
        raise errors.not_found()
    return row


async def installation(call: rest.Call) -> Response:
    """GET /app/installations/{installation_id}"""
    return rest.answer(installation_shape(call, _installation(call)))


async def repository_installation(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/installation"""
    app_id, repo = _as_app(call), call.find_repository()
    rows = call.db.all("SELECT * FROM installations WHERE app_id = ? AND account_id = ?", app_id, repo["owner_id"])
    for row in rows:
        if auth.covered(call.forge, row["id"], repo):
            return rest.answer(installation_shape(call, row))
    raise errors.not_found()


def _narrowed_repositories(call: rest.Call, row: database.Row) -> list[int] | None:
    """The repositories that a new token is limited to, or None for all of the installation.

    Raises:
        ApiError: 422 for one that the installation does not include.
    """
    names, ids = call.texts("repositories", "Token"), call.data.get("repository_ids") or []
    if not names and not ids:
        return None
    if not isinstance(ids, list) or not all(isinstance(item, int) for item in ids):
        raise errors.invalid("Token", "repository_ids")
    wanted = []
    for name in names:
        found = call.db.scalar(
            "SELECT id FROM repositories WHERE owner_id = ? AND name = ?", row["account_id"], name.rpartition("/")[2]
        )
        wanted.append(found or 0)
    for repo_id in [*wanted, *ids]:
        repo = call.db.one("SELECT * FROM repositories WHERE id = ?", repo_id)
        if repo is None or not auth.covered(call.forge, row["id"], repo):
            raise errors.refused(
                "There is at least one repository that does not exist or is not accessible to the parent installation."
            )
    return [*wanted, *ids]


def _narrowed_permissions(call: rest.Call, row: database.Row) -> dict[str, str]:
    """The permissions of a new token: at most those of the installation.

    Raises:
        ApiError: 422 for one that the installation was not granted.
    """
    granted: dict[str, str] = database.load(row["permissions"])
    wanted = call.data.get("permissions")
    if not wanted:
        return granted
    if not isinstance(wanted, dict):
        raise errors.invalid("Token", "permissions")
    for name, level in wanted.items():
        if level not in _RANK or _RANK[level] > _RANK.get(granted.get(name, ""), 0):
            raise errors.refused("The permissions requested are not granted to this installation.")
    return {"metadata": "read", **wanted}


async def access_token(call: rest.Call) -> Response:
    """POST /app/installations/{installation_id}/access_tokens"""
    row = _installation(call)
    ids, permissions = _narrowed_repositories(call, row), _narrowed_permissions(call, row)
    token = "ghs_" + secrets.token_urlsafe(30).replace("-", "a").replace("_", "b")[:36]
    call.db.insert(
        "tokens",
        digest=auth.digest(token),
        kind="installation",
        user_id=call.who.user_id,
        installation_id=row["id"],
        repository_ids=None if ids is None else database.dump(ids),
        permissions=database.dump(permissions),
        expires_at=clock.epoch() + TOKEN_SECONDS,
    )
    found: dict[str, Any] = {
        "token": token,
        "expires_at": clock.after(TOKEN_SECONDS),
        "permissions": permissions,
        "repository_selection": "all" if ids is None and row["repository_ids"] is None else "selected",
    }
    if ids is not None:
        rows = (repositories.get_row(call.forge, repo_id) for repo_id in ids)
        found["repositories"] = [shapes.repository(call.forge, repo) for repo in rows]
    return rest.answer(found, 201)


async def installation_repositories(call: rest.Call) -> Response:
    """GET /installation/repositories"""
    if call.who.kind != "installation":
        raise errors.forbidden("You must authenticate with an installation access token in order to list repositories.")
    account = call.db.scalar("SELECT account_id FROM installations WHERE id = ?", call.who.installation_id)
    rows = call.db.all(
        "SELECT r.*, u.login AS owner FROM repositories r JOIN users u ON u.id = r.owner_id "
        "WHERE r.owner_id = ? ORDER BY r.id",
        account,
    )
    limited = call.who.repository_ids
    seen = [
        row
        for row in rows
        if auth.covered(call.forge, call.who.installation_id, row) and (limited is None or row["id"] in limited)
    ]
    shown = (shapes.repository(call.forge, row, "write") for row in call.cut(seen))
    return call.paged(shown, len(seen), "repositories")


ROUTES: list[Route] = [
    rest.route("GET", "/user", user),
    rest.route("GET", "/users/{username}", user_by_login),
    rest.route("GET", "/rate_limit", rate_limit),
    rest.route("GET", "/app", app),
    rest.route("GET", "/app/installations", installations),
    rest.route("GET", "/app/installations/{installation_id}", installation),
    rest.route("POST", "/app/installations/{installation_id}/access_tokens", access_token),
    rest.route("GET", "/installation/repositories", installation_repositories),
    rest.route("GET", "/repos/{owner}/{repo}/installation", repository_installation),
]

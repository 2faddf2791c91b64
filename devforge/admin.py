"""The admin API under `/_devforge`: what GitHub has no call for, because there it is done by hand or by fate."""

import secrets
from pathlib import Path
from typing import Any

import pydantic
from cryptography.hazmat.primitives import serialization
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devforge import auth, ci, clock, database, errors, faults, git, repositories, rest, shapes, state, webhooks

APP_PERMISSIONS = {
    "metadata": "read",
    "contents": "write",
    "issues": "write",
    "pull_requests": "write",
    "checks": "write",
    "statuses": "write",
    "administration": "read",
}


async def health(request: Request) -> Response:
    """GET /_devforge/health, open to all: what is still pending."""
    forge: state.Forge = request.app.state.forge
    jobs = forge.db.scalar("SELECT count(*) FROM ci_jobs WHERE state IN ('queued', 'running')")
    pending = forge.db.scalar("SELECT count(*) FROM deliveries WHERE state = 'pending'")
    return JSONResponse({"ok": True, "ci_pending": jobs, "deliveries_pending": pending})


def _user(call: rest.Call, login: str) -> database.Row:
    row = call.db.one("SELECT * FROM users WHERE login = ?", login)
    if row is None:
        raise errors.ApiError(404, f"There is no user {login}: create it with POST /_devforge/users")
    return row


def _new_user(call: rest.Call, login: str, kind: str, name: str | None) -> int:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-[]")
    reserved = {"repos", "app", "apps", "user", "users", "orgs", "installation", "graphql", "api", "settings"}
    if not login or len(login) > 60 or not set(login) <= allowed or login.lower() in reserved:
        raise errors.invalid("User", "login")
    return call.db.insert(
        "users",
        login=login,
        type=kind,
        name=name,
        email=f"{login.replace('[bot]', '')}@users.devforge.invalid",
        created_at=clock.now(),
    )


async def create_user(call: rest.Call) -> Response:
    """POST /_devforge/users {login, name, type, token}: a user (also an existing one) with one more token"""
    login, kind = call.text("login", "User"), call.text("type", "User", "User")
    if kind not in ("User", "Organization", "Bot"):
        raise errors.invalid("User", "type")
    token = call.optional("token", "User") or "ghp_" + secrets.token_hex(18)
    with call.db.transaction():
        row = call.db.one("SELECT * FROM users WHERE login = ?", login)
        user_id = row["id"] if row else _new_user(call, login, kind, call.optional("name", "User"))
        known = call.db.scalar("SELECT user_id FROM tokens WHERE digest = ?", auth.digest(token))
        if known not in (None, user_id):
            raise errors.invalid("User", "token", "already_exists")
        if known is None:
            call.db.insert("tokens", digest=auth.digest(token), kind="personal", user_id=user_id)
    found = shapes.user(call.forge, _user(call, login))
    return rest.answer(found | {"token": token}, 200 if row else 201)


def _permissions(call: rest.Call, default: dict[str, str]) -> dict[str, str]:
    value = call.data.get("permissions") or default
    if not isinstance(value, dict) or not all(level in ("read", "write", "admin") for level in value.values()):
        raise errors.invalid("App", "permissions")
    return {"metadata": "read", **value}


def _public_key(call: rest.Call) -> str:
    """The PEM public key of the request.

    Raises:
        ApiError: 422 when it is none.
    """
    text = call.text("public_key", "App")
    try:
        serialization.load_pem_public_key(text.encode())
    except ValueError as bad:
        raise errors.invalid("App", "public_key", "invalid", "send an RSA public key in PEM form") from bad
    return text


async def create_app(call: rest.Call) -> Response:
    """POST /_devforge/apps {slug, name, public_key, owner, permissions, events, webhook: {url, secret}}"""
    slug, now = call.text("slug", "App"), clock.now()
    key, permissions = _public_key(call), _permissions(call, APP_PERMISSIONS)
    events = call.texts("events", "App") or [name for name in webhooks.EVENTS if name != "ping"]
    hook = call.data.get("webhook")
    if call.db.one("SELECT 1 FROM apps WHERE slug = ?", slug):
        raise errors.invalid("App", "slug", "already_exists")
    with call.db.transaction():
        owner = _user(call, call.text("owner", "App", state.ADMIN_LOGIN))["id"]
        app_id = call.db.insert(
            "apps",
            slug=slug,
            name=call.text("name", "App", slug),
            client_id=f"Iv1.{secrets.token_hex(8)}",
            owner_id=owner,
            bot_id=_new_user(call, f"{slug}[bot]", "Bot", None),
            public_key=key,
            permissions=database.dump(permissions),
            events=database.dump(events),
            created_at=now,
            updated_at=now,
        )
        if isinstance(hook, dict):
            call.db.insert(
                "hooks",
                app_id=app_id,
                url=str(hook["url"]) if "url" in hook else "",
                secret=hook.get("secret"),
                events=database.dump(events),
                active=1,
                created_at=now,
                updated_at=now,
            )
    return rest.answer(shapes.app(call.forge, app_id), 201)


async def create_installation(call: rest.Call) -> Response:
    """POST /_devforge/installations {app, account, repositories, permissions}; no repositories means all"""
    app = call.db.one("SELECT * FROM apps WHERE slug = ?", call.text("app", "Installation"))
    if app is None:
        raise errors.ApiError(404, "There is no such app: create it with POST /_devforge/apps")
    account = _user(call, call.text("account", "Installation"))
    names, ids = call.texts("repositories", "Installation"), None
    if names:
        ids = []
        for name in names:
            sql = "SELECT id FROM repositories WHERE owner_id = ? AND name = ?"
            if (repo_id := call.db.scalar(sql, account["id"], name.rpartition("/")[2])) is None:
                raise errors.invalid("Installation", "repositories")
            ids.append(repo_id)
    if call.db.one("SELECT 1 FROM installations WHERE app_id = ? AND account_id = ?", app["id"], account["id"]):
        raise errors.invalid("Installation", "account", "already_exists")
    installation_id = call.db.insert(
        "installations",
        app_id=app["id"],
        account_id=account["id"],
        repository_ids=None if ids is None else database.dump(ids),
        permissions=database.dump(_permissions(call, database.load(app["permissions"]))),
        created_at=clock.now(),
    )
    return rest.answer({"id": installation_id, "app_id": app["id"], "account": account["login"]}, 201)


async def import_repository(call: rest.Call) -> Response:
    """POST /_devforge/import {owner, name, path, default_branch, private}: a git repository, a bundle or a directory"""
    owner, source = _user(call, call.text("owner", "Import")), Path(call.text("path", "Import"))
    if (is_git := _is_git(source)) is None:
        raise errors.invalid("Import", "path", "invalid", f"{source} is no absolute path of something on this machine")
    branch = call.optional("default_branch", "Import") or (await _branch(source) if is_git else "main")
    name, private = call.text("name", "Import"), call.flag("private", "Import")
    words = call.optional("description", "Import")
    repo = await repositories.make(call.forge, owner["id"], name, branch, private, words)
    fill = repositories.fill_from_git if is_git else repositories.fill_from_files
    await fill(call.forge, repo, source, owner["id"])
    return rest.answer(shapes.repository(call.forge, repositories.get_row(call.forge, repo["id"]), "admin"), 201)


def _is_git(source: Path) -> bool | None:
    """Whether this is a git repository or a bundle rather than a plain directory; None when there is nothing."""
    if not source.is_absolute() or not source.exists():
        return None
    return source.is_file() or (source / ".git").exists() or (source / "HEAD").is_file()


async def _branch(source: Path) -> str:
    """The branch that HEAD of a local repository or bundle names; `main` when it does not say."""
    allow = ("-c", "protocol.allow=never", "-c", "protocol.file.allow=always")
    patterns = ("HEAD", "refs/heads/*")
    listing = await git.run(None, *allow, "ls-remote", "--symref", "--", str(source), *patterns, ok=(0, 128))
    tips: dict[str, str] = {}
    for line in listing.text.splitlines():
        what, _, name = line.partition("\t")
        if what.startswith("ref: refs/heads/"):
            return what.removeprefix("ref: refs/heads/")
        tips[name.removeprefix("refs/heads/")] = what
    head = tips.pop("HEAD", None)  # a bundle tells the commit of HEAD, not its branch
    same = [name for name, sha in tips.items() if sha == head]
    return "main" if "main" in same or not same else same[0]


async def set_ci(call: rest.Call) -> Response:
    """PUT /_devforge/repos/{owner}/{repo}/ci {mode}: run, off, never_report, instant_success or instant_failure"""
    repo, mode = call.find_repository(), call.text("mode", "CI")
    if mode not in ci.MODES:
        raise errors.invalid("CI", "mode", "invalid", f"use one of {', '.join(ci.MODES)}")
    call.db.update("repositories", repo["id"], ci_mode=mode)
    return rest.answer({"mode": mode})


async def add_fault(call: rest.Call) -> Response:
    """POST /_devforge/faults: see `faults.Settings`"""
    try:
        settings = faults.Settings.model_validate(call.data)
    except pydantic.ValidationError as bad:
        found = [{"field": ".".join(map(str, item["loc"])), "message": item["msg"]} for item in bad.errors()]
        raise errors.ApiError(422, "Validation Failed", found) from bad
    return rest.answer(faults.add(call.forge, settings), 201)


async def list_faults(call: rest.Call) -> Response:
    """GET /_devforge/faults"""
    return rest.answer([faults.shape(row) for row in call.db.all("SELECT * FROM faults ORDER BY id")])


async def clear_faults(call: rest.Call) -> Response:
    """DELETE /_devforge/faults and /_devforge/faults/{fault_id}"""
    if "fault_id" in call.request.path_params:
        call.db.run("DELETE FROM faults WHERE id = ?", call.number("fault_id"))
    else:
        call.db.run("DELETE FROM faults")
    return rest.answer(status=204)


async def events(call: rest.Call) -> Response:
    """GET /_devforge/events?after=ID: the mutating requests, oldest first, as they were before any fault"""
    after = call.query("after", "0")
    rows = call.db.all(
        "SELECT * FROM mutations WHERE id > ? ORDER BY id LIMIT 10000", int(after) if after.isdigit() else 0
    )
    return rest.answer([dict(row) for row in rows])


async def deliveries(call: rest.Call) -> Response:
    """GET /_devforge/deliveries: every webhook delivery, also those still pending, oldest first"""
    rows: list[dict[str, Any]] = [
        {key: row[key] for key in ("id", "guid", "hook_id", "event", "action", "state", "status", "status_code")}
        for row in call.db.all("SELECT * FROM deliveries ORDER BY id DESC LIMIT 10000")
    ]
    return rest.answer(rows[::-1])


_FAULTS = "/_devforge/faults"
ROUTES: list[Route] = [
    Route("/_devforge/health", health, methods=["GET"]),
    rest.route("POST", "/_devforge/users", create_user, faulty=False),
    rest.route("POST", "/_devforge/apps", create_app, faulty=False),
    rest.route("POST", "/_devforge/installations", create_installation, faulty=False),
    rest.route("POST", "/_devforge/import", import_repository, faulty=False),
    rest.route("PUT", "/_devforge/repos/{owner}/{repo}/ci", set_ci, faulty=False),
    rest.route("GET", _FAULTS, list_faults, faulty=False),
    rest.route("POST", _FAULTS, add_fault, faulty=False),
    rest.route("DELETE", _FAULTS, clear_faults, faulty=False),
    rest.route("DELETE", f"{_FAULTS}/{{fault_id}}", clear_faults, faulty=False),
    rest.route("GET", "/_devforge/events", events, faulty=False),
    rest.route("GET", "/_devforge/deliveries", deliveries, faulty=False),
]

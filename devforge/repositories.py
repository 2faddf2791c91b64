"""Repositories: creating, importing, reading, and who may work on them."""

import tempfile
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, branches, clock, database, errors, git, observe, rest, shapes, state

_PERMISSIONS = {"pull": "read", "push": "write"} | {name: name for name in auth.LEVELS if name != "none"}


# The update hook, not git, answers the deletion of the default branch: it names the rule.
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tbare = true
\thooksPath = "{hooks}"
\tlogAllRefUpdates = false
[http]
\treceivepack = true
[receive]
\tfsckObjects = true
\thideRefs = refs/pull
\tdenyDeleteCurrent = ignore
[uploadpack]
\tallowAnySHA1InWant = true
[gc]
\tauto = 0
"""


def _write_config(path: Path, text: str) -> None:
    (path / "config").write_text(text, "utf-8")


def get_row(forge: state.Forge, repo_id: int) -> database.Row:
    """A repository with its owner's login."""
    return forge.db.get(
        "SELECT r.*, u.login AS owner FROM repositories r JOIN users u ON u.id = r.owner_id WHERE r.id = ?", repo_id
    )


def valid_name(name: str) -> str:
    """A name that a repository can have.

    Raises:
        ApiError: 422.
    """
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    if not name or len(name) > 100 or name in (".", "..") or name.endswith(".git") or not set(name) <= allowed:
        raise errors.invalid("Repository", "name")
    return name


async def make(
    forge: state.Forge, owner_id: int, name: str, default_branch: str, private: bool, description: str | None
) -> database.Row:
    """An empty repository with its bare git directory.

    Raises:
        ApiError: 422 when the owner has one of this name.
    """
    branches.valid_name(default_branch)
    if forge.db.one("SELECT 1 FROM repositories WHERE owner_id = ? AND name = ?", owner_id, valid_name(name)):
        raise errors.refused("name already exists on this account", "Repository")
    now = clock.now()
    repo_id = forge.db.insert(
        "repositories",
        owner_id=owner_id,
        name=name,
        private=int(private),
        description=description,
        default_branch=default_branch,
        created_at=now,
        updated_at=now,
        pushed_at=now,
    )
    path, start = forge.git_dir(repo_id), f"--initial-branch={default_branch}"
    await git.run(None, "init", "--quiet", "--bare", "--template=", start, str(path))
    _write_config(path, _CONFIG.format(hooks=forge.root / "hooks"))
    return get_row(forge, repo_id)


async def create(call: rest.Call) -> Response:
    """POST /user/repos and POST /orgs/{org}/repos"""
    auth.signed_in(call.who)
    owner_id = call.who.user_id
    if "org" in call.request.path_params:
        owner = call.db.one("SELECT id FROM users WHERE login = ?", call.param("org"))
        if owner is None:
            raise errors.not_found()
        if owner["id"] != owner_id and call.who.kind != "admin":
            raise errors.forbidden("You need admin access to the organization before adding a repository to it.")
        owner_id = owner["id"]
    elif call.who.kind not in ("user", "admin"):
        raise errors.forbidden()
    repo = await make(
        call.forge,
        owner_id,
        call.text("name", "Repository"),
        call.text("default_branch", "Repository", "main"),
        call.flag("private", "Repository"),
        call.optional("description", "Repository"),
    )
    if call.flag("auto_init", "Repository"):
        await _first_commit(call.forge, repo, call.who.user_id)
    found = shapes.repository(call.forge, get_row(call.forge, repo["id"]), "admin")
    return rest.answer(found, 201, {"Location": found["url"]})


async def _first_commit(forge: state.Forge, repo: database.Row, actor_id: int) -> None:
    with tempfile.TemporaryDirectory(prefix="devforge-init-") as folder:
        _write_readme(Path(folder), repo["name"])
        await fill_from_files(forge, repo, Path(folder), actor_id)


def _write_readme(folder: Path, name: str) -> None:
    (folder / "README.md").write_text(f"# {name}\n", "utf-8")


async def fill_from_files(forge: state.Forge, repo: database.Row, folder: Path, actor_id: int) -> None:
    """Make the files of a directory the first commit of an empty repository."""
    path, branch = forge.git_dir(repo["id"]), f"refs/heads/{repo['default_branch']}"
    who = forge.db.get("SELECT login, email FROM users WHERE id = ?", actor_id)
    with tempfile.TemporaryDirectory(prefix="devforge-index-") as scratch:
        extra = {
            "GIT_INDEX_FILE": str(Path(scratch, "index")),
            **{f"GIT_{role}_NAME": who["login"] for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": who["email"] for role in ("AUTHOR", "COMMITTER")},
        }
        await git.run(path, f"--work-tree={folder}", "add", "--all", extra=extra)
        tree = (await git.run(path, "write-tree", extra=extra)).text.strip()
        made = await git.run(path, "commit-tree", tree, "-F", "-", stdin=b"Initial commit\n", extra=extra)
    async with forge.lock(repo["id"]):
        await git.update(path, branch, made.text.strip(), git.ZERO)
        await observe.refs(forge, repo, actor_id)


async def fill_from_git(forge: state.Forge, repo: database.Row, source: Path, actor_id: int) -> None:
    """Copy every branch and tag of a local repository or bundle into an empty repository."""
    path = forge.git_dir(repo["id"])
    allow = ("-c", "protocol.allow=never", "-c", "protocol.file.allow=always")
    specs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    async with forge.lock(repo["id"]):
        await git.run(path, *allow, "fetch", "--quiet", "--no-tags", "--", str(source), *specs, timeout=300)
        await observe.refs(forge, repo, actor_id)


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}"""
    repo = call.repository()
    return rest.answer(shapes.repository(call.forge, repo, _level(call, repo)))


def _level(call: rest.Call, repo: database.Row) -> str:
    if call.who.kind == "admin":
        return "admin"
    if call.who.kind == "installation":
        return "write" if auth.allows(call.forge, call.who, repo, "contents:write") else "read"
    return auth.level(call.forge, call.who.user_id, repo)


async def patch(call: rest.Call) -> Response:
    """PATCH /repos/{owner}/{repo}: description, private, default_branch"""
    repo = call.repository("administration:write")
    values: dict[str, Any] = {}
    if "description" in call.data:
        values["description"] = call.optional("description", "Repository")
    if "private" in call.data:
        values["private"] = int(call.flag("private", "Repository"))
    if branch := call.optional("default_branch", "Repository"):
        name = f"refs/heads/{branch}"
        if call.db.one("SELECT 1 FROM refs WHERE repo_id = ? AND name = ?", repo["id"], name) is None:
            raise errors.refused(f"The branch {branch} was not found. Please push that ref first.", "Repository")
        await git.run(call.forge.git_dir(repo["id"]), "symbolic-ref", "HEAD", name)
        values["default_branch"] = branch
    call.db.update("repositories", repo["id"], **values, updated_at=clock.now())
    return rest.answer(shapes.repository(call.forge, get_row(call.forge, repo["id"]), "admin"))


async def permission(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/collaborators/{username}/permission"""
    repo = call.repository()
    user = call.db.one("SELECT * FROM users WHERE login = ?", call.param("username"))
    if user is None:
        raise errors.not_found()
    level = "admin" if user["login"] == state.ADMIN_LOGIN else auth.level(call.forge, user["id"], repo)
    coarse = {"triage": "read", "maintain": "write"}.get(level, level)
    shown = shapes.user(call.forge, user) | {"permissions": shapes.permissions(level), "role_name": level}
    return rest.answer({"permission": coarse, "role_name": level, "user": shown})


async def add_collaborator(call: rest.Call) -> Response:
    """PUT /repos/{owner}/{repo}/collaborators/{username}: effective at once, without an invitation"""
    repo = call.repository("administration:write")
    user = call.db.one("SELECT id FROM users WHERE login = ?", call.param("username"))
    if user is None:
        raise errors.not_found()
    level = _PERMISSIONS.get(call.text("permission", "Collaborator", "push"))
    if level is None:
        raise errors.invalid("Collaborator", "permission")
    call.db.run("INSERT OR REPLACE INTO collaborators VALUES (?, ?, ?)", repo["id"], user["id"], level)
    return rest.answer(status=204)


async def remove_collaborator(call: rest.Call) -> Response:
    """DELETE /repos/{owner}/{repo}/collaborators/{username}"""
    repo = call.repository("administration:write")
    call.db.run(
        "DELETE FROM collaborators WHERE repo_id = ? AND user_id = (SELECT id FROM users WHERE login = ?)",
        repo["id"],
        call.param("username"),
    )
    return rest.answer(status=204)


_COLLABORATOR = "/repos/{owner}/{repo}/collaborators/{username}"
ROUTES: list[Route] = [
    rest.route("POST", "/user/repos", create),
    rest.route("POST", "/orgs/{org}/repos", create),
    rest.route("GET", "/repos/{owner}/{repo}", get),
    rest.route("PATCH", "/repos/{owner}/{repo}", patch),
    rest.route("GET", f"{_COLLABORATOR}/permission", permission),
    rest.route("PUT", _COLLABORATOR, add_collaborator),
    rest.route("DELETE", _COLLABORATOR, remove_collaborator),
]

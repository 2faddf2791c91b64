"""Git refs over REST, and merging one branch into another without a pull request."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, database, errors, git, merges, observe, pulls, rest, revisions, shapes, verdicts


def shape(call: rest.Call, repo: database.Row, name: str, sha: str) -> dict[str, Any]:
    """A git ref."""
    return {
        "ref": name,
        "node_id": f"REF_{repo['id']}_{name}",
        "url": shapes.api(call.forge, repo, f"git/{name}"),
        "object": {"sha": sha, "type": "commit", "url": shapes.api(call.forge, repo, f"git/commits/{sha}")},
    }


def _known(call: rest.Call, repo: database.Row, name: str) -> str | None:
    found = call.db.scalar("SELECT sha FROM refs WHERE repo_id = ? AND name = ?", repo["id"], name)
    return None if found is None else str(found)


def _path_ref(call: rest.Call) -> str:
    name = f"refs/{call.param('ref').removeprefix('refs/')}"
    if not name.startswith(("refs/heads/", "refs/tags/")):
        raise errors.not_found()
    return name


def refuse_protected(call: rest.Call, repo: database.Row, branch: str, sha: str, status: int = 422) -> None:
    """Refuse to put a commit on a protected branch that does not meet its rules.

    Raises:
        ApiError: with `status`, naming what is missing.
    """
    rules = verdicts.protection(call.forge, repo["id"], branch)
    if rules is None:
        return
    if rules.rules.get("required_pull_request_reviews") is not None:
        raise errors.ApiError(status, f"Changes to {branch} must be made through a pull request.")
    if lacking := verdicts.missing(call.forge, repo["id"], sha, rules):
        raise errors.ApiError(status, f"{verdicts.refusal(lacking)} {branch} is protected and {sha} is not green.")


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/git/ref/{ref}"""
    repo = call.repository("contents:read")
    name = _path_ref(call)
    if (sha := _known(call, repo, name)) is None:
        raise errors.not_found()
    return rest.answer(shape(call, repo, name, sha))


async def matching(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/git/matching-refs/{ref}"""
    repo = call.repository("contents:read")
    prefix = f"refs/{call.param('ref')}"
    rows, total = call.select(
        "SELECT * FROM refs WHERE repo_id = ? AND substr(name, 1, ?) = ? ORDER BY name",
        repo["id"],
        len(prefix),
        prefix,
    )
    return call.paged((shape(call, repo, row["name"], row["sha"]) for row in rows), total)


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/git/refs"""
    repo = call.repository("contents:write")
    name, sha = call.text("ref", "Reference"), call.text("sha", "Reference")
    short = name.removeprefix("refs/heads/").removeprefix("refs/tags/")
    if short == name or not git.valid_branch(short):
        raise errors.refused(f"{name} is not a valid ref name.")
    path = call.forge.git_dir(repo["id"])
    async with call.forge.lock(repo["id"]):
        if not git.SHA.match(sha) or await git.commit(path, sha) is None:
            raise errors.refused("Object does not exist")
        if _known(call, repo, name) is not None:
            raise errors.refused("Reference already exists")
        if name.startswith("refs/heads/"):
            refuse_protected(call, repo, short, sha)
        await _move(call, repo, name, sha, git.ZERO)
    return rest.answer(shape(call, repo, name, sha), 201, {"Location": shapes.api(call.forge, repo, f"git/{name}")})


async def _move(call: rest.Call, repo: database.Row, name: str, sha: str, old: str) -> None:
    """Move a ref in git and let everything follow. The caller holds the lock."""
    try:
        await git.update(call.forge.git_dir(repo["id"]), name, sha, old)
    except errors.GitFailed as failed:  # e.g. a and a/b cannot both be branches
        raise errors.refused(f"Reference cannot be updated: {failed.stderr.splitlines()[-1]}") from failed
    await observe.refs(call.forge, repo, call.who.user_id, {name: sha})


async def patch(call: rest.Call) -> Response:
    """PATCH /repos/{owner}/{repo}/git/refs/{ref}"""
    repo = call.repository("contents:write")
    name, sha = _path_ref(call), call.text("sha", "Reference")
    force = call.flag("force", "Reference")
    path = call.forge.git_dir(repo["id"])
    async with call.forge.lock(repo["id"]):
        if (old := _known(call, repo, name)) is None:
            raise errors.refused("Reference does not exist")
        if not git.SHA.match(sha) or await git.commit(path, sha) is None:
            raise errors.refused("Object does not exist")
        branch = name.removeprefix("refs/heads/")
        rules = verdicts.protection(call.forge, repo["id"], branch) if branch != name else None
        if (not force or rules is not None) and not await git.is_ancestor(path, old, sha):
            raise errors.refused("Update is not a fast forward")
        if rules is not None and sha != old:
            refuse_protected(call, repo, branch, sha)
        await _move(call, repo, name, sha, old)
    return rest.answer(shape(call, repo, name, sha))


async def delete(call: rest.Call) -> Response:
    """DELETE /repos/{owner}/{repo}/git/refs/{ref}"""
    repo = call.repository("contents:write")
    name = _path_ref(call)
    branch = name.removeprefix("refs/heads/")
    async with call.forge.lock(repo["id"]):
        if (old := _known(call, repo, name)) is None:
            raise errors.refused("Reference does not exist")
        if branch != name and verdicts.protection(call.forge, repo["id"], branch):
            raise errors.refused("Cannot delete a protected branch")
        if branch == repo["default_branch"]:
            raise errors.refused("Cannot delete the default branch")
        await _move(call, repo, name, git.ZERO, old)
    return rest.answer(status=204)


async def merge(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/merges"""
    auth.signed_in(call.who)
    repo = call.repository("contents:write")
    base, head = call.text("base", "Merge"), call.text("head", "Merge")
    message = call.optional("commit_message", "Merge") or f"Merge {head} into {base}"
    path = call.forge.git_dir(repo["id"])
    async with call.forge.lock(repo["id"]):
        old = pulls.branch_sha(call, repo, base)
        if old is None:
            raise errors.ApiError(404, "Base does not exist")
        try:
            new = await revisions.resolve(call, repo, head)
        except errors.ApiError as unknown:
            raise errors.ApiError(404, "Head does not exist") from unknown
        if await git.is_ancestor(path, new, old):
            return rest.answer(status=204)
        try:
            sha = await merges.merge(path, old, new, message, pulls.person(call))
        except merges.Conflict as conflict:
            raise errors.ApiError(409, "Merge conflict") from conflict
        refuse_protected(call, repo, base, sha, 403)
        await _move(call, repo, f"refs/heads/{base}", sha, old)
    found = await revisions.commit(call, repo, sha)
    return rest.answer(shapes.commit(call.forge, repo, found), 201)


_GIT = "/repos/{owner}/{repo}/git"
ROUTES: list[Route] = [
    rest.route("GET", f"{_GIT}/ref/{{ref:path}}", get),
    rest.route("GET", f"{_GIT}/matching-refs/{{ref:path}}", matching),
    rest.route("POST", f"{_GIT}/refs", create),
    rest.route("PATCH", f"{_GIT}/refs/{{ref:path}}", patch),
    rest.route("DELETE", f"{_GIT}/refs/{{ref:path}}", delete),
    rest.route("POST", "/repos/{owner}/{repo}/merges", merge),
]

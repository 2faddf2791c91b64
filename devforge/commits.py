"""Commits, comparisons and file contents over REST."""

import asyncio
import base64
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from devforge import database, diffs, errors, git, pull_events, rest, revisions, shapes

_MAX_FILES = 300
_MAX_COMMITS = 250


async def list_all(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/commits"""
    repo = call.repository("contents:read")
    sha = await revisions.resolve(call, repo, call.query("sha") or repo["default_branch"])
    path = call.forge.git_dir(repo["id"])
    page, size = call.page()
    total = int((await git.run(path, "rev-list", "--count", sha, "--")).text)
    found = await git.commits(path, sha, limit=size, skip=(page - 1) * size)
    return call.paged((shapes.commit(call.forge, repo, commit) for commit in found), total)


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/commits/{ref}"""
    repo = call.repository("contents:read")
    sha = await revisions.resolve(call, repo, call.param("ref"))
    if call.wants("sha"):
        return rest.media(sha.encode(), "sha")
    commit = await revisions.commit(call, repo, sha)
    before = commit.parents[0] if commit.parents else None
    if call.wants("diff"):
        return rest.media(await diffs.text(call.forge.git_dir(repo["id"]), before, sha), "diff")
    files = await diffs.files(call.forge.git_dir(repo["id"]), before, sha)
    added, removed = sum(file.additions for file in files), sum(file.deletions for file in files)
    found = shapes.commit(call.forge, repo, commit) | {
        "stats": {"additions": added, "deletions": removed, "total": added + removed},
        "files": [diffs.shape(call.forge, repo, sha, file) for file in files[:_MAX_FILES]],
    }
    return rest.answer(found)


async def git_commit(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/git/commits/{sha}"""
    repo = call.repository("contents:read")
    if not git.SHA.match(call.param("sha")):
        raise errors.not_found()
    commit = await git.commit(call.forge.git_dir(repo["id"]), call.param("sha"))
    if commit is None:
        raise errors.not_found()
    found = shapes.commit(call.forge, repo, commit)
    inner = {key: value for key, value in found["commit"].items() if key != "comment_count"}
    kept = {key: found[key] for key in ("sha", "node_id", "html_url", "parents")}
    return rest.answer(kept | inner)


def _status(ahead: int, behind: int) -> str:
    if ahead and behind:
        return "diverged"
    return "ahead" if ahead else "behind" if behind else "identical"


async def compare(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/compare/{base...head}"""
    repo = call.repository("contents:read")
    base_name, dots, head_name = call.param("spec").partition("...")
    if not dots:
        raise errors.not_found()
    own = f"{repo['owner']}:".lower()
    names = [name[len(own) :] if name.lower().startswith(own) else name for name in (base_name, head_name)]
    base, head = [await revisions.resolve(call, repo, name) for name in names]
    path = call.forge.git_dir(repo["id"])
    root = await git.merge_base(path, base, head)
    if root is None:
        raise errors.ApiError(404, f"No common ancestor between {names[0]} and {names[1]}.")
    if call.wants("diff"):
        return rest.media(await diffs.text(path, root, head), "diff")
    (ahead, behind), listed, files = await asyncio.gather(
        git.distance(path, base, head),
        git.commits(path, head, f"^{base}", limit=_MAX_COMMITS),
        diffs.files(path, root, head),
    )
    listed.reverse()
    spec, page = f"{quote(names[0])}...{quote(names[1])}", shapes.page(call.forge, repo, "compare")
    found: dict[str, Any] = {
        "url": shapes.api(call.forge, repo, f"compare/{spec}"),
        "html_url": f"{page}/{spec}",
        "permalink_url": f"{page}/{repo['owner']}:{base[:7]}...{repo['owner']}:{head[:7]}",
        "diff_url": f"{page}/{spec}.diff",
        "patch_url": f"{page}/{spec}.patch",
        "base_commit": shapes.commit(call.forge, repo, await revisions.commit(call, repo, base)),
        "merge_base_commit": shapes.commit(call.forge, repo, await revisions.commit(call, repo, root)),
        "status": _status(ahead, behind),
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": [shapes.commit(call.forge, repo, commit) for commit in call.cut(listed)]
        if "page" in call.request.query_params or "per_page" in call.request.query_params
        else [shapes.commit(call.forge, repo, commit) for commit in listed],
        "files": [diffs.shape(call.forge, repo, head, file) for file in files[:_MAX_FILES]],
    }
    return rest.answer(found)


def _entry(call: rest.Call, repo: database.Row, ref: str, meta: tuple[str, str, str, int], path: str) -> dict[str, Any]:
    """One file or directory of the contents API; meta is (mode, type, object id, size)."""
    mode, kind, sha, size = meta
    words = {"tree": "dir", "commit": "submodule"}
    url = f"{shapes.api(call.forge, repo, f'contents/{quote(path)}')}?ref={quote(ref)}"
    page = shapes.page(call.forge, repo, f"blob/{quote(ref)}/{quote(path)}")
    git_url = shapes.api(call.forge, repo, f"git/{'trees' if kind == 'tree' else 'blobs'}/{sha}")
    is_file = kind == "blob"
    return {
        "type": "symlink" if mode == "120000" else words.get(kind, "file"),
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "size": size,
        "url": url,
        "html_url": page,
        "git_url": git_url,
        "download_url": shapes.page(call.forge, repo, f"raw/{quote(ref)}/{quote(path)}") if is_file else None,
        "_links": {"self": url, "git": git_url, "html": page},
    }


async def _listing(call: rest.Call, repo: database.Row, *where: str) -> list[tuple[tuple[str, str, str, int], str]]:
    result = await git.run(call.forge.git_dir(repo["id"]), "ls-tree", "-z", "--long", *where, ok=(0, 128))
    found = []
    for line in filter(None, result.text.split("\0")):
        meta, _, path = line.partition("\t")
        mode, kind, sha, size = meta.split()
        found.append(((mode, kind, sha, int(size) if size != "-" else 0), path))
    return found


async def contents(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/contents/{path}"""
    repo = call.repository("contents:read")
    path, ref = str(call.request.path_params.get("path", "")).strip("/"), call.query("ref") or repo["default_branch"]
    sha = await revisions.resolve(call, repo, ref)
    if any(part in ("", ".", "..") for part in path.split("/")) and path:
        raise errors.not_found()
    entries = await _listing(call, repo, sha, "--", f":(literal){path}") if path else []
    if path and not entries:
        raise errors.not_found()
    if entries and entries[0][0][1] == "blob":
        data = await git.blob(call.forge.git_dir(repo["id"]), sha, path) or b""
        if call.wants("raw"):
            return rest.media(data, "raw")
        found = _entry(call, repo, ref, *entries[0])
        return rest.answer(found | {"content": base64.encodebytes(data).decode(), "encoding": "base64"})
    inside = await _listing(call, repo, f"{sha}:{path}")
    prefix = f"{path}/" if path else ""
    return rest.answer([_entry(call, repo, ref, meta, f"{prefix}{name}") for meta, name in inside])


async def pulls_of_commit(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/commits/{sha}/pulls"""
    repo = call.repository("contents:read", "pull_requests:read")
    sha = await revisions.resolve(call, repo, call.param("ref"))
    rows, total = call.select(
        f"{pull_events.SELECT} WHERE i.repo_id = ? AND (p.head_sha = ? OR p.merge_sha = ?) ORDER BY i.number",
        repo["id"],
        sha,
        sha,
    )
    return call.paged((pull_events.simple(call.forge, repo, row, call.version) for row in rows), total)


_REPO = "/repos/{owner}/{repo}"
ROUTES: list[Route] = [
    rest.route("GET", f"{_REPO}/commits", list_all),
    rest.route("GET", f"{_REPO}/commits/{{ref:path}}/pulls", pulls_of_commit),
    rest.route("GET", f"{_REPO}/commits/{{ref:path}}", get),
    rest.route("GET", f"{_REPO}/git/commits/{{sha}}", git_commit),
    rest.route("GET", f"{_REPO}/compare/{{spec:path}}", compare),
    rest.route("GET", f"{_REPO}/contents", contents),
    rest.route("GET", f"{_REPO}/contents/{{path:path}}", contents),
]

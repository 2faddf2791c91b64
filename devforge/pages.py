"""Pages for people: plain HTML without scripts, everything untrusted escaped by the templates."""

from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from devforge import (
    auth,
    ci_runner,
    database,
    diffs,
    errors,
    git,
    markdown,
    markup,
    pull_events,
    pull_facts,
    rest,
    runs,
    shapes,
    state,
    verdicts,
)

_FOLDER = Path(__file__).with_name("templates")
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["markdown"] = markdown.render
_ENVIRONMENT.filters["difflines"] = markup.diff
_ENVIRONMENT.filters["moment"] = markup.moment
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_ROWS = 100
_LOG_SHOWN = 500_000


def _render(template: str, status: int = 200, **values: Any) -> Response:
    html = _ENVIRONMENT.get_template(template).render(**values)
    return Response(html, status, _HEADERS, "text/html; charset=utf-8")


def not_found(request: Request) -> Response:
    """404: a page for browsers, GitHub's JSON for everybody else."""
    if "text/html" not in request.headers.get("accept", ""):
        refusal = errors.not_found()
        return rest.answer(refusal.body(), refusal.status)
    return _render("message.html", 404, title="Not found", text=f"There is nothing at {request.url.path}.")


def _forge(request: Request) -> state.Forge:
    found: state.Forge = request.app.state.forge
    return found


def _repository(request: Request) -> database.Row | None:
    """The repository of the path, if the caller may see it."""
    forge = _forge(request)
    row = forge.db.one(
        "SELECT r.*, u.login AS owner FROM repositories r JOIN users u ON u.id = r.owner_id "
        "WHERE u.login = ? AND r.name = ?",
        request.path_params["owner"],
        request.path_params["repo"],
    )
    try:
        who = auth.identify(forge, request.headers.get("authorization"))
    except errors.ApiError:
        who = auth.ANONYMOUS
    return row if row is not None and auth.allows(forge, who, row, "contents:read") else None


def _counts(forge: state.Forge, repo: database.Row) -> dict[str, int]:
    """How many open issues and pull requests the tabs announce."""
    row = forge.db.get(
        "SELECT count(*) AS issues, count(p.issue_id) AS pulls FROM issues i "
        "LEFT JOIN pulls p ON p.issue_id = i.id WHERE i.repo_id = ? AND i.state = 'open'",
        repo["id"],
    )
    return {"issues": row["issues"] - row["pulls"], "pulls": row["pulls"]}


async def home(request: Request) -> Response:
    """All public repositories."""
    rows = _forge(request).db.all(
        "SELECT r.*, u.login AS owner, (SELECT count(*) FROM issues i WHERE i.repo_id = r.id AND i.state = 'open') "
        "AS open_count FROM repositories r JOIN users u ON u.id = r.owner_id WHERE NOT private "
        "ORDER BY r.pushed_at DESC, r.id DESC LIMIT 200"
    )
    return _render("home.html", repositories=rows)


async def repository(request: Request) -> Response:
    """README, branches and recent commits."""
    forge, repo = _forge(request), _repository(request)
    if repo is None:
        return not_found(request)
    branches = forge.db.all(
        "SELECT substr(name, 12) AS name, sha FROM refs WHERE repo_id = ? AND name LIKE 'refs/heads/%' "
        "ORDER BY name = ? DESC, name LIMIT ?",
        repo["id"],
        f"refs/heads/{repo['default_branch']}",
        _ROWS,
    )
    branch = str(request.path_params.get("branch", repo["default_branch"]))
    tip = next((row["sha"] for row in branches if row["name"] == branch), None)
    path = forge.git_dir(repo["id"])
    listed = await git.commits(path, tip, limit=20) if tip else []
    readme = await git.blob(path, tip, "README.md") if tip else None
    return _render(
        "repository.html",
        repo=repo,
        counts=_counts(forge, repo),
        branch=branch,
        branches=branches,
        commits=listed,
        clone_url=f"{shapes.page(forge, repo)}.git",
        readme=readme.decode("utf-8", "replace") if readme else None,
        checks={commit.sha: _checks(forge, repo, commit.sha) for commit in listed},
    )


def _checks(forge: state.Forge, repo: database.Row, sha: str) -> list[dict[str, Any]]:
    """The newest check runs and statuses of a commit, as a page shows them."""
    found = [
        {
            "name": run["name"],
            "word": run["conclusion"] or run["status"],
            "link": shapes.page(forge, repo, f"runs/{run['id']}"),
        }
        for run in verdicts.latest_runs(forge, repo["id"], sha)
    ]
    statuses = verdicts.latest_statuses(forge, repo["id"], sha)
    return found + [{"name": row["context"], "word": row["state"], "link": None} for row in statuses]


async def listing(request: Request) -> Response:
    """Issues or pull requests, open ones first."""
    forge, repo = _forge(request), _repository(request)
    if repo is None:
        return not_found(request)
    kind = "pulls" if request.url.path.endswith("/pulls") else "issues"
    test = "IS NOT NULL" if kind == "pulls" else "IS NULL"
    rows = forge.db.all(
        "SELECT i.*, u.login, p.draft, p.merged_at, p.head_sha FROM issues i JOIN users u ON u.id = i.user_id "
        f"LEFT JOIN pulls p ON p.issue_id = i.id WHERE i.repo_id = ? AND p.issue_id {test} "
        "ORDER BY i.state = 'open' DESC, i.number DESC LIMIT ?",
        repo["id"],
        _ROWS,
    )
    return _render(
        "listing.html",
        repo=repo,
        counts=_counts(forge, repo),
        kind=kind,
        rows=rows,
        labels={row["id"]: _labels(forge, row["id"]) for row in rows},
        checks={row["id"]: _checks(forge, repo, row["head_sha"]) if row["head_sha"] else [] for row in rows},
    )


def _labels(forge: state.Forge, issue_id: int) -> list[database.Row]:
    return forge.db.all(
        "SELECT l.name, l.color FROM labels l JOIN issue_labels il ON il.label_id = l.id WHERE il.issue_id = ? "
        "ORDER BY l.name",
        issue_id,
    )


def _conversation(forge: state.Forge, issue_id: int) -> list[dict[str, Any]]:
    """Comments, reviews and timeline entries in the order in which they happened."""
    comments = forge.db.all(
        "SELECT c.id, c.body, c.created_at, u.login FROM comments c JOIN users u ON u.id = c.user_id "
        "WHERE c.issue_id = ?",
        issue_id,
    )
    found: list[dict[str, Any]] = [{"kind": "comment", **dict(row)} for row in comments]
    entries = forge.db.all(
        "SELECT t.*, u.login FROM timeline t JOIN users u ON u.id = t.user_id WHERE t.issue_id = ?", issue_id
    )
    for row in entries:
        detail = database.load(row["detail"])
        if row["event"] == "reviewed":
            found.append(_review(forge, detail["review"], row["created_at"]))
            continue
        words = markup.describe(row["event"], detail)
        found.append({"kind": "event", "login": row["login"], "words": words, "created_at": row["created_at"]})
    return sorted(found, key=lambda item: item["created_at"])


def _review(forge: state.Forge, review_id: int, at: str) -> dict[str, Any]:
    row = forge.db.get("SELECT r.*, u.login FROM reviews r JOIN users u ON u.id = r.user_id WHERE r.id = ?", review_id)
    comments = forge.db.all("SELECT * FROM review_comments WHERE review_id = ? ORDER BY id", review_id)
    return {"kind": "review", **dict(row), "comments": comments, "created_at": at}


async def issue(request: Request) -> Response:
    """One issue with its conversation."""
    forge, repo = _forge(request), _repository(request)
    row = None if repo is None else _issue(forge, repo, request.path_params["number"])
    if repo is None or row is None:
        return not_found(request)
    if forge.db.one("SELECT 1 FROM pulls WHERE issue_id = ?", row["id"]):
        return Response(status_code=302, headers={"Location": shapes.page(forge, repo, f"pull/{row['number']}")})
    return _render(
        "issue.html",
        repo=repo,
        counts=_counts(forge, repo),
        issue=row,
        labels=_labels(forge, row["id"]),
        conversation=_conversation(forge, row["id"]),
    )


def _issue(forge: state.Forge, repo: database.Row, number: int) -> database.Row | None:
    return forge.db.one(
        "SELECT i.*, u.login FROM issues i JOIN users u ON u.id = i.user_id WHERE i.repo_id = ? AND i.number = ?",
        repo["id"],
        number,
    )


def _pull(forge: state.Forge, repo: database.Row, number: int) -> database.Row | None:
    sql = f"{pull_events.SELECT} WHERE i.repo_id = ? AND i.number = ?"
    return forge.db.one(sql, repo["id"], number)


async def _pull_files(forge: state.Forge, repo: database.Row, row: database.Row) -> list[diffs.File]:
    path = forge.git_dir(repo["id"])
    return await diffs.files(path, await git.merge_base(path, row["base_sha"], row["head_sha"]), row["head_sha"])


async def pull(request: Request) -> Response:
    """One pull request: state, checks, reviews, conversation and diff."""
    forge, repo = _forge(request), _repository(request)
    row = None if repo is None else _pull(forge, repo, request.path_params["number"])
    if repo is None or row is None:
        return not_found(request)
    facts = await pull_facts.compute(forge, repo, row)
    word = "merged" if row["merged_at"] else "draft" if row["draft"] and row["state"] == "open" else row["state"]
    return _render(
        "pull.html",
        repo=repo,
        counts=_counts(forge, repo),
        pull=row,
        login=forge.db.scalar("SELECT login FROM users WHERE id = ?", row["user_id"]),
        word=word,
        facts=facts,
        merge_state=pull_facts.merge_state(forge, repo, row, facts),
        labels=_labels(forge, row["id"]),
        checks=_checks(forge, repo, row["head_sha"]),
        conversation=_conversation(forge, row["id"]),
        files=await _pull_files(forge, repo, row),
    )


async def pull_diff(request: Request) -> Response:
    """The diff of a pull request as text."""
    forge, repo = _forge(request), _repository(request)
    row = None if repo is None else _pull(forge, repo, request.path_params["number"])
    if repo is None or row is None:
        return not_found(request)
    path = forge.git_dir(repo["id"])
    root = await git.merge_base(path, row["base_sha"], row["head_sha"])
    return PlainTextResponse(await diffs.text(path, root, row["head_sha"]), headers=_HEADERS)


async def commit(request: Request) -> Response:
    """One commit with its diff."""
    forge, repo, sha = _forge(request), _repository(request), request.path_params["sha"]
    found = await git.commit(forge.git_dir(repo["id"]), sha) if repo is not None and git.SHA.match(sha) else None
    if repo is None or found is None:
        return not_found(request)
    files = await diffs.files(forge.git_dir(repo["id"]), found.parents[0] if found.parents else None, sha)
    values: dict[str, Any] = {"checks": _checks(forge, repo, sha), "counts": _counts(forge, repo)}
    return _render("commit.html", repo=repo, commit=found, files=files, **values)


async def run(request: Request) -> Response:
    """One check run with its log."""
    forge, repo = _forge(request), _repository(request)
    row = (
        None
        if repo is None
        else forge.db.one(
            "SELECT * FROM check_runs WHERE repo_id = ? AND id = ?", repo["id"], request.path_params["run_id"]
        )
    )
    if repo is None or row is None:
        return not_found(request)
    log = ci_runner.read_tail(forge.log_path(row["id"]), _LOG_SHOWN)
    values: dict[str, Any] = {"counts": _counts(forge, repo), "pulls": runs.pulls_of(forge, repo, row["head_sha"])}
    return _render("run.html", repo=repo, run=row, log=log, **values)


async def static(request: Request) -> Response:
    """The style sheet and the one picture."""
    known = {"style.css": "text/css", "avatar.svg": "image/svg+xml"}
    name = request.path_params["name"]
    if name not in known:
        return not_found(request)
    return FileResponse(_FOLDER / name, media_type=known[name], headers={"Cache-Control": "max-age=3600"})


_REPO = "/{owner}/{repo}"
ROUTES: list[Route] = [
    Route("/", home),
    Route("/_static/{name}", static),
    Route(_REPO, repository),
    Route(f"{_REPO}/tree/{{branch:path}}", repository),
    Route(f"{_REPO}/issues", listing),
    Route(f"{_REPO}/pulls", listing),
    Route(f"{_REPO}/issues/{{number:int}}", issue),
    Route(f"{_REPO}/pull/{{number:int}}", pull),
    Route(f"{_REPO}/pull/{{number:int}}.diff", pull_diff),
    Route(f"{_REPO}/commit/{{sha}}", commit),
    Route(f"{_REPO}/runs/{{run_id:int}}", run),
]

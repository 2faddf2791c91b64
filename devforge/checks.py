"""Check runs and check suites over REST. GitHub reserves writing for apps; here people with write access may too."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, ci, clock, database, errors, git, rest, revisions, runs, state

_STATUSES = ("queued", "in_progress", "completed")
_CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "stale",
    "timed_out",
)


def _find(call: rest.Call, repo: database.Row) -> database.Row:
    row = call.db.one("SELECT * FROM check_runs WHERE repo_id = ? AND id = ?", repo["id"], call.number("check_run_id"))
    if row is None:
        raise errors.not_found()
    return row


def _values(call: rest.Call) -> dict[str, Any]:
    """The columns that a create or update request sets."""
    values: dict[str, Any] = {}
    for name in ("external_id", "details_url", "started_at", "completed_at"):
        if (text := call.optional(name, "CheckRun")) is not None:
            values[name] = text
    status, conclusion = call.optional("status", "CheckRun"), call.optional("conclusion", "CheckRun")
    if status is not None and status not in _STATUSES:
        raise errors.invalid("CheckRun", "status")
    if conclusion is not None and conclusion not in _CONCLUSIONS:
        raise errors.invalid("CheckRun", "conclusion")
    if status == "completed" and conclusion is None:
        raise errors.invalid("CheckRun", "conclusion", "missing_field")
    if conclusion is not None:
        values |= {"status": "completed", "conclusion": conclusion}
        values.setdefault("completed_at", clock.now())
    elif status is not None:
        values |= {"status": status, "conclusion": None, "completed_at": None}
    output = call.data.get("output")
    if output is not None:
        if not isinstance(output, dict):
            raise errors.invalid("CheckRun", "output")
        for name in ("title", "summary", "text"):
            if isinstance(output.get(name), str):
                if len(output[name]) > runs.TEXT_LIMIT:
                    raise errors.invalid("CheckRun", name, "custom", f"is longer than {runs.TEXT_LIMIT} characters")
                values[name] = output[name]
    return values


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/check-runs"""
    repo = call.repository("checks:write")
    name, sha = call.text("name", "CheckRun"), call.text("head_sha", "CheckRun")
    if not name.strip():
        raise errors.invalid("CheckRun", "name", "missing_field")
    await revisions.commit(call, repo, sha)
    with call.db.transaction():
        app_id = auth.bot_app(call.forge, call.who)
        run = runs.create(call.forge, repo, app_id, name, sha, None, **_values(call))
    return rest.answer(runs.shape(call.forge, repo, run), 201)


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/check-runs/{check_run_id}"""
    repo = call.repository("checks:read")
    return rest.answer(runs.shape(call.forge, repo, _find(call, repo)))


async def patch(call: rest.Call) -> Response:
    """PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}"""
    repo = call.repository("checks:write")
    run = _find(call, repo)
    if call.who.kind == "installation" and call.who.app_id != run["app_id"]:
        raise errors.forbidden(f"Invalid app_id `{call.who.app_id}` - check run can only be modified by its own app")
    values = _values(call)
    if name := call.optional("name", "CheckRun"):
        values["name"] = name
    if values:
        with call.db.transaction():
            run = runs.change(call.forge, repo, run, **values)
    return rest.answer(runs.shape(call.forge, repo, run))


async def rerequest(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/check-runs/{check_run_id}/rerequest"""
    repo = call.repository("checks:write")
    run = _find(call, repo)
    with call.db.transaction():
        runs.rerequested(call.forge, repo, run)
        job = call.db.one("SELECT * FROM ci_jobs WHERE check_run_id = ?", run["id"])
        ours = call.db.scalar("SELECT slug FROM apps WHERE id = ?", run["app_id"]) == state.CI_APP
        if ours and repo["ci_mode"] != "off":
            command = job["command"] if job else "true"
            seconds = job["timeout_seconds"] if job else 120
            check = ci.Check(name=run["name"], command=command, timeout_seconds=seconds)
            branch = call.db.scalar("SELECT head_branch FROM check_suites WHERE id = ?", run["suite_id"])
            ci.start(call.forge, repo, run["app_id"], run["head_sha"], branch, check)
    return rest.answer({}, 201)


async def list_runs(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/commits/{ref}/check-runs"""
    repo = call.repository("checks:read")
    return _runs(call, repo, "head_sha = ?", await revisions.resolve(call, repo, call.param("ref")), "app_id, name")


async def list_suite_runs(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/check-suites/{check_suite_id}/check-runs"""
    repo = call.repository("checks:read")
    return _runs(call, repo, "suite_id = ?", call.number("check_suite_id"), "name")


def _runs(call: rest.Call, repo: database.Row, where: str, value: Any, group: str) -> Response:
    clauses, values = [f"repo_id = ? AND {where}"], [repo["id"], value]
    if call.query("filter", "latest") == "latest":
        clauses.append(f"id IN (SELECT max(id) FROM check_runs WHERE repo_id = ? AND {where} GROUP BY {group})")
        values += [repo["id"], value]
    for parameter, column in (("check_name", "name"), ("status", "status"), ("app_id", "app_id")):
        if text := call.query(parameter):
            clauses.append(f"{column} = ?")
            values.append(text)
    rows, total = call.select(f"SELECT * FROM check_runs WHERE {' AND '.join(clauses)} ORDER BY id DESC", *values)
    return call.paged((runs.shape(call.forge, repo, row) for row in rows), total, "check_runs")


async def list_suites(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/commits/{ref}/check-suites"""
    repo = call.repository("checks:read")
    sha = await revisions.resolve(call, repo, call.param("ref"))
    commit = await git.commit(call.forge.git_dir(repo["id"]), sha)
    rows, total = call.select(
        "SELECT * FROM check_suites WHERE repo_id = ? AND head_sha = ? ORDER BY id", repo["id"], sha
    )
    return call.paged((runs.suite_shape(call.forge, repo, row, commit) for row in rows), total, "check_suites")


async def get_suite(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/check-suites/{check_suite_id}"""
    repo = call.repository("checks:read")
    row = call.db.one(
        "SELECT * FROM check_suites WHERE repo_id = ? AND id = ?", repo["id"], call.number("check_suite_id")
    )
    if row is None:
        raise errors.not_found()
    commit = await git.commit(call.forge.git_dir(repo["id"]), row["head_sha"])
    return rest.answer(runs.suite_shape(call.forge, repo, row, commit))


async def annotations(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/check-runs/{check_run_id}/annotations: there are none"""
    _find(call, call.repository("checks:read"))
    return call.paged([], 0)


_REPO = "/repos/{owner}/{repo}"
ROUTES: list[Route] = [
    rest.route("POST", f"{_REPO}/check-runs", create),
    rest.route("GET", f"{_REPO}/check-runs/{{check_run_id}}", get),
    rest.route("PATCH", f"{_REPO}/check-runs/{{check_run_id}}", patch),
    rest.route("POST", f"{_REPO}/check-runs/{{check_run_id}}/rerequest", rerequest),
    rest.route("GET", f"{_REPO}/check-runs/{{check_run_id}}/annotations", annotations),
    rest.route("GET", f"{_REPO}/check-suites/{{check_suite_id}}", get_suite),
    rest.route("GET", f"{_REPO}/check-suites/{{check_suite_id}}/check-runs", list_suite_runs),
    rest.route("GET", f"{_REPO}/commits/{{ref:path}}/check-runs", list_runs),
    rest.route("GET", f"{_REPO}/commits/{{ref:path}}/check-suites", list_suites),
]

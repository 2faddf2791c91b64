"""Check runs and check suites: their rows, their shapes and their events."""

from typing import Any

from devforge import clock, database, git, shapes, state, webhooks

TEXT_LIMIT = 65_535


def suite(forge: state.Forge, repo: database.Row, app_id: int, sha: str, branch: str | None) -> int:
    """The suite of an app on a commit, created when it is the first."""
    found = forge.db.scalar(
        "SELECT id FROM check_suites WHERE repo_id = ? AND app_id = ? AND head_sha = ?", repo["id"], app_id, sha
    )
    if found is not None:
        return int(found)
    now = clock.now()
    return forge.db.insert(
        "check_suites",
        repo_id=repo["id"],
        app_id=app_id,
        head_sha=sha,
        head_branch=branch or _branch_of(forge, repo["id"], sha),
        before_sha=None,
        created_at=now,
        updated_at=now,
    )


def _branch_of(forge: state.Forge, repo_id: int, sha: str) -> str | None:
    name = forge.db.scalar(
        "SELECT name FROM refs WHERE repo_id = ? AND sha = ? AND name LIKE 'refs/heads/%' ORDER BY name", repo_id, sha
    )
    return None if name is None else str(name).removeprefix("refs/heads/")


def create(
    forge: state.Forge, repo: database.Row, app_id: int, name: str, sha: str, branch: str | None, **values: Any
) -> database.Row:
    """Store a check run and emit `check_run created` (and `completed` when it starts out so)."""
    suite_id = suite(forge, repo, app_id, sha, branch)
    settings = {"status": "queued", "external_id": "", "started_at": clock.now(), **values}
    run_id = forge.db.insert(
        "check_runs", repo_id=repo["id"], suite_id=suite_id, app_id=app_id, name=name, head_sha=sha, **settings
    )
    run = get(forge, run_id)
    _emit(forge, repo, run, "created")
    if run["status"] == "completed":
        _completed(forge, repo, run)
    return run


def change(forge: state.Forge, repo: database.Row, run: database.Row, **values: Any) -> database.Row:
    """Change a check run; one that becomes completed emits its event, and its suite's when it was the last."""
    forge.db.update("check_runs", run["id"], **values)
    new = get(forge, run["id"])
    if new["status"] == "completed" and run["status"] != "completed":
        _completed(forge, repo, new)
    return new


def get(forge: state.Forge, run_id: int) -> database.Row:
    """A check run that exists."""
    return forge.db.get("SELECT * FROM check_runs WHERE id = ?", run_id)


def _emit(forge: state.Forge, repo: database.Row, run: database.Row, action: str) -> None:
    webhooks.emit(
        forge,
        repo,
        "check_run",
        action,
        bot_of(forge, run["app_id"]),
        lambda: {"check_run": _event_run(forge, repo, run)},
    )


def _event_run(forge: state.Forge, repo: database.Row, run: database.Row) -> dict[str, Any]:
    row = forge.db.get("SELECT * FROM check_suites WHERE id = ?", run["suite_id"])
    return shape(forge, repo, run) | {"check_suite": suite_shape(forge, repo, row)}


def rerequested(forge: state.Forge, repo: database.Row, run: database.Row) -> None:
    """Tell the app that somebody wants this check again."""
    _emit(forge, repo, run, "rerequested")


def _completed(forge: state.Forge, repo: database.Row, run: database.Row) -> None:
    forge.db.update("check_suites", run["suite_id"], updated_at=clock.now())
    _emit(forge, repo, run, "completed")
    row = forge.db.get("SELECT * FROM check_suites WHERE id = ?", run["suite_id"])
    if suite_verdict(forge, row["id"])[0] == "completed":
        webhooks.emit(
            forge,
            repo,
            "check_suite",
            "completed",
            bot_of(forge, run["app_id"]),
            lambda: {"check_suite": suite_shape(forge, repo, row)},
        )


def bot_of(forge: state.Forge, app_id: int) -> int:
    """The user that an app acts as."""
    return int(forge.db.scalar("SELECT bot_id FROM apps WHERE id = ?", app_id))


def suite_verdict(forge: state.Forge, suite_id: int) -> tuple[str, str | None]:
    """(status, conclusion) of a suite from the newest run of each name."""
    rows = forge.db.all(
        "SELECT status, conclusion FROM check_runs WHERE id IN "
        "(SELECT max(id) FROM check_runs WHERE suite_id = ? GROUP BY name)",
        suite_id,
    )
    if not rows:
        return "queued", None
    if any(row["status"] != "completed" for row in rows):
        return ("queued" if all(row["status"] == "queued" for row in rows) else "in_progress"), None
    found = {row["conclusion"] for row in rows}
    for conclusion in ("failure", "timed_out", "cancelled", "action_required", "stale", "success", "neutral"):
        if conclusion in found:
            return "completed", conclusion
    return "completed", "skipped"


def pulls_of(forge: state.Forge, repo: database.Row, sha: str) -> list[dict[str, Any]]:
    """The open pull requests whose head is this commit, in their shortest form."""
    rows = forge.db.all(
        "SELECT i.id, i.number, p.head_ref, p.head_sha, p.base_ref, p.base_sha FROM pulls p "
        "JOIN issues i ON i.id = p.issue_id WHERE p.repo_id = ? AND p.head_sha = ? AND i.state = 'open'",
        repo["id"],
        sha,
    )
    short = {"id": repo["id"], "url": shapes.api(forge, repo), "name": repo["name"]}
    return [
        {
            "id": row["id"],
            "number": row["number"],
            "url": shapes.api(forge, repo, f"pulls/{row['number']}"),
            "head": {"ref": row["head_ref"], "sha": row["head_sha"], "repo": short},
            "base": {"ref": row["base_ref"], "sha": row["base_sha"], "repo": short},
        }
        for row in rows
    ]


def shape(forge: state.Forge, repo: database.Row, run: database.Row) -> dict[str, Any]:
    """A check run."""
    url = shapes.api(forge, repo, f"check-runs/{run['id']}")
    page = shapes.page(forge, repo, f"runs/{run['id']}")
    return {
        "id": run["id"],
        "node_id": shapes.node("CR", run["id"]),
        "head_sha": run["head_sha"],
        "external_id": run["external_id"],
        "url": url,
        "html_url": page,
        "details_url": run["details_url"] or page,
        "status": run["status"],
        "conclusion": run["conclusion"],
        "started_at": run["started_at"],
        "completed_at": run["completed_at"],
        "output": {
            "title": run["title"],
            "summary": run["summary"],
            "text": run["text"],
            "annotations_count": 0,
            "annotations_url": f"{url}/annotations",
        },
        "name": run["name"],
        "check_suite": {"id": run["suite_id"]},
        "app": shapes.app(forge, run["app_id"]),
        "pull_requests": pulls_of(forge, repo, run["head_sha"]),
    }


def suite_shape(
    forge: state.Forge, repo: database.Row, row: database.Row, commit: git.Commit | None = None
) -> dict[str, Any]:
    """A check suite; `head_commit` needs the commit, which events leave out."""
    status, conclusion = suite_verdict(forge, row["id"])
    url = shapes.api(forge, repo, f"check-suites/{row['id']}")
    found: dict[str, Any] = {
        "id": row["id"],
        "node_id": shapes.node("CS", row["id"]),
        "head_branch": row["head_branch"],
        "head_sha": row["head_sha"],
        "status": status,
        "conclusion": conclusion,
        "url": url,
        "before": row["before_sha"] or git.ZERO,
        "after": row["head_sha"],
        "pull_requests": pulls_of(forge, repo, row["head_sha"]),
        "app": shapes.app(forge, row["app_id"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "latest_check_runs_count": forge.db.scalar(
            "SELECT count(DISTINCT name) FROM check_runs WHERE suite_id = ?", row["id"]
        ),
        "check_runs_url": f"{url}/check-runs",
    }
    if commit is not None:
        found["head_commit"] = shapes.simple_commit(commit)
        found["repository"] = shapes.minimal_repository(forge, repo)
    return found

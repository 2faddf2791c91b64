"""Which checks a commit gets, and the queue of those still to run.

A repository declares them in `.devforge-ci.json`, read from the commit itself. Each (commit, check name) runs once;
a re-request adds another run. The queue is a table, so what was pending when the server died runs after its restart.
"""

import fnmatch
from typing import Annotated

import pydantic

from devforge import clock, database, git, runs, state, verdicts

FILE = ".devforge-ci.json"
QUEUE_BRANCHES = "fettle/queue/*"  # fnmatch: * also matches slashes
MODES = ("run", "off", "never_report", "instant_success", "instant_failure")


class Check(pydantic.BaseModel):
    """One declared check: a shell command with a time-out in seconds."""

    model_config = pydantic.ConfigDict(extra="ignore")

    name: Annotated[str, pydantic.Field(min_length=1, max_length=100)]
    command: Annotated[str, pydantic.Field(min_length=1)]
    timeout_seconds: Annotated[float, pydantic.Field(gt=0, le=3600)] = 120


class Declaration(pydantic.BaseModel):
    """The content of `.devforge-ci.json`."""

    model_config = pydantic.ConfigDict(extra="ignore")

    checks: list[Check] = []
    problem: str | None = None


def wanted(repo: database.Row, branch: str) -> bool:
    """Whether a push to this branch runs CI even without a pull request."""
    return branch == repo["default_branch"] or fnmatch.fnmatchcase(branch, QUEUE_BRANCHES)


async def declared(forge: state.Forge, repo: database.Row, sha: str) -> Declaration:
    """What the commit declares; a file that cannot be read becomes a failing check that says so."""
    if repo["ci_mode"] == "off":
        return Declaration()
    raw = await git.blob(forge.git_dir(repo["id"]), sha, FILE)
    if raw is None:
        if not repo["ci_mode"].startswith("instant"):
            return Declaration()
        rules = verdicts.protection(forge, repo["id"], repo["default_branch"])
        names = list(rules.contexts) if rules and rules.contexts else ["tests"]
        return Declaration(checks=[Check(name=name, command="true") for name in names])
    try:
        return Declaration.model_validate_json(raw)
    except pydantic.ValidationError as bad:
        return Declaration(problem=f"{FILE} at {sha} cannot be read: {bad.errors(include_url=False)[0]['msg']}")


def schedule(forge: state.Forge, repo: database.Row, sha: str, branch: str, plan: Declaration) -> None:
    """Create the check runs of a commit that it does not have yet, and queue their commands."""
    app_id = int(forge.db.scalar("SELECT id FROM apps WHERE slug = ?", state.CI_APP))
    if plan.problem and not _has(forge, repo, app_id, sha, FILE):
        now = clock.now()
        runs.create(
            forge,
            repo,
            app_id,
            FILE,
            sha,
            branch,
            status="completed",
            conclusion="failure",
            completed_at=now,
            title="Unreadable CI file",
            summary=plan.problem,
        )
    for check in plan.checks:
        if not _has(forge, repo, app_id, sha, check.name):
            start(forge, repo, app_id, sha, branch, check)


def _has(forge: state.Forge, repo: database.Row, app_id: int, sha: str, name: str) -> bool:
    return (
        forge.db.one(
            "SELECT 1 FROM check_runs WHERE repo_id = ? AND app_id = ? AND head_sha = ? AND name = ?",
            repo["id"],
            app_id,
            sha,
            name,
        )
        is not None
    )


def start(forge: state.Forge, repo: database.Row, app_id: int, sha: str, branch: str | None, check: Check) -> None:
    """Create one check run and what follows from the repository's CI mode."""
    mode = repo["ci_mode"]
    if mode.startswith("instant"):
        conclusion = mode.removeprefix("instant_")
        runs.create(
            forge,
            repo,
            app_id,
            check.name,
            sha,
            branch,
            status="completed",
            conclusion=conclusion,
            completed_at=clock.now(),
            title=f"{check.name}: {conclusion}",
            summary=f"This repository's CI answers {conclusion} at once, without running anything.",
        )
        return
    run = runs.create(forge, repo, app_id, check.name, sha, branch, title=f"{check.name} is waiting")
    forge.db.insert(
        "ci_jobs",
        check_run_id=run["id"],
        repo_id=repo["id"],
        sha=sha,
        name=check.name,
        command=check.command,
        timeout_seconds=check.timeout_seconds,
        state="silent" if mode == "never_report" else "queued",
    )
    forge.ci_wanted.set()

"""Is a commit green? Branch protection, the checks it requires, and what a pull request still lacks.

Green means: every required context has a successful latest result for exactly this commit. No result is not green.
"""

from dataclasses import dataclass
from typing import Any

from devforge import auth, database, state

PASSING = ("success", "neutral", "skipped")


@dataclass(frozen=True)
class Protection:
    """The rules of one protected branch; contexts map to the app that must report them (None: anybody)."""

    contexts: dict[str, int | None]
    strict: bool
    approvals: int
    rules: dict[str, Any]


def protection(forge: state.Forge, repo_id: int, branch: str) -> Protection | None:
    """The protection of a branch, or None."""
    row = forge.db.one("SELECT rules FROM protections WHERE repo_id = ? AND branch = ?", repo_id, branch)
    if row is None:
        return None
    rules = database.load(row["rules"])
    checks = rules.get("required_status_checks") or {}
    reviews = rules.get("required_pull_request_reviews")
    return Protection(
        {item["context"]: item["app_id"] for item in checks.get("checks", [])},
        bool(checks.get("strict")),
        0 if reviews is None else int(reviews.get("required_approving_review_count", 1)),
        rules,
    )


def latest_runs(forge: state.Forge, repo_id: int, sha: str) -> list[database.Row]:
    """The newest check run of each app and name on a commit."""
    return forge.db.all(
        "SELECT * FROM check_runs WHERE id IN "
        "(SELECT max(id) FROM check_runs WHERE repo_id = ? AND head_sha = ? GROUP BY app_id, name) ORDER BY id",
        repo_id,
        sha,
    )


def latest_statuses(forge: state.Forge, repo_id: int, sha: str) -> list[database.Row]:
    """The newest status of each context on a commit."""
    return forge.db.all(
        "SELECT * FROM statuses WHERE id IN "
        "(SELECT max(id) FROM statuses WHERE repo_id = ? AND sha = ? GROUP BY context) ORDER BY id",
        repo_id,
        sha,
    )


def results(forge: state.Forge, repo_id: int, sha: str) -> dict[str, list[tuple[int | None, str]]]:
    """Per name: (app, `success` | `pending` | `failure`) of each run and status on this commit."""
    found: dict[str, list[tuple[int | None, str]]] = {}
    for run in latest_runs(forge, repo_id, sha):
        word = "pending" if run["status"] != "completed" else "failure"
        word = "success" if run["conclusion"] in PASSING else word
        found.setdefault(run["name"], []).append((run["app_id"], word))
    for status in latest_statuses(forge, repo_id, sha):
        word = {"success": "success", "pending": "pending"}.get(status["state"], "failure")
        found.setdefault(status["context"], []).append((None, word))
    return found


def missing(forge: state.Forge, repo_id: int, sha: str, rules: Protection | None) -> dict[str, str]:
    """The required contexts that are not green on a commit, each with `expected`, `pending` or `failure`."""
    if rules is None or not rules.contexts:
        return {}
    known = results(forge, repo_id, sha)
    lacking = {}
    for context, app_id in rules.contexts.items():
        words = [word for app, word in known.get(context, []) if app_id is None or app == app_id]
        if not words:
            lacking[context] = "expected"
        elif any(word != "success" for word in words):
            lacking[context] = "failure" if "failure" in words else "pending"
    return lacking


def refusal(lacking: dict[str, str]) -> str:
    """GitHub's sentence about required checks that are not green."""
    if len(lacking) > 1:
        return f"{len(lacking)} of {len(lacking)} required status checks have not succeeded: " + ", ".join(
            f'"{name}" ({word})' for name, word in lacking.items()
        )
    name, word = next(iter(lacking.items()))
    tail = {"expected": "is expected", "pending": "is pending", "failure": "is failing"}[word]
    return f'Required status check "{name}" {tail}.'


def approvals(forge: state.Forge, repo: database.Row, issue_id: int) -> tuple[int, int]:
    """(approvals, requests for changes): the last verdict of each reviewer who may write."""
    rows = forge.db.all(
        "SELECT user_id, state FROM reviews WHERE issue_id = ? AND state IN "
        "('APPROVED', 'CHANGES_REQUESTED', 'DISMISSED') ORDER BY id",
        issue_id,
    )
    last = {row["user_id"]: row["state"] for row in rows}
    counted = [
        state_
        for user_id, state_ in last.items()
        if auth.LEVELS[auth.level(forge, user_id, repo)] >= auth.LEVELS["write"] or _is_app(forge, user_id)
    ]
    return counted.count("APPROVED"), counted.count("CHANGES_REQUESTED")


def _is_app(forge: state.Forge, user_id: int) -> bool:
    return forge.db.one("SELECT 1 FROM apps WHERE bot_id = ?", user_id) is not None

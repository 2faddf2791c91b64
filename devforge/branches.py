"""Branches, their protection, and the same protection as rules."""

from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from devforge import database, errors, git, pulls, rest, revisions, shapes, verdicts


def protection_shape(call: rest.Call, repo: database.Row, branch: str, rules: dict[str, Any]) -> dict[str, Any]:
    """Classic branch protection."""
    url = shapes.api(call.forge, repo, f"branches/{quote(branch)}/protection")
    found: dict[str, Any] = {
        "url": url,
        "enforce_admins": {"url": f"{url}/enforce_admins", "enabled": True},
        "required_linear_history": {"enabled": False},
        "allow_force_pushes": {"enabled": False},
        "allow_deletions": {"enabled": False},
        "block_creations": {"enabled": False},
        "required_conversation_resolution": {"enabled": False},
        "lock_branch": {"enabled": False},
        "allow_fork_syncing": {"enabled": False},
    }
    if (checks := rules.get("required_status_checks")) is not None:
        found["required_status_checks"] = {
            "url": f"{url}/required_status_checks",
            "strict": checks["strict"],
            "contexts": [item["context"] for item in checks["checks"]],
            "contexts_url": f"{url}/required_status_checks/contexts",
            "checks": checks["checks"],
        }
    if (reviews := rules.get("required_pull_request_reviews")) is not None:
        found["required_pull_request_reviews"] = {
            "url": f"{url}/required_pull_request_reviews",
            "dismiss_stale_reviews": False,
            "require_code_owner_reviews": False,
            "required_approving_review_count": reviews["required_approving_review_count"],
            "require_last_push_approval": False,
        }
    return found


def _checks(value: Any) -> dict[str, Any] | None:
    """The stored form of `required_status_checks`: contexts without an app, and checks with one."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise errors.invalid("ProtectedBranch", "required_status_checks")
    items: dict[str, int | None] = {}
    for context in value.get("contexts") or []:
        if not isinstance(context, str):
            raise errors.invalid("ProtectedBranch", "contexts")
        items[context] = None
    for check in value.get("checks") or []:
        if not isinstance(check, dict) or not isinstance(check.get("context"), str):
            raise errors.invalid("ProtectedBranch", "checks")
        app_id = check.get("app_id")
        items[check["context"]] = app_id if isinstance(app_id, int) and app_id > 0 else None
    return {
        "strict": bool(value.get("strict")),
        "checks": [{"context": name, "app_id": app_id} for name, app_id in items.items()],
    }


def _reviews(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise errors.invalid("ProtectedBranch", "required_pull_request_reviews")
    count = value.get("required_approving_review_count", 1)
    if not isinstance(count, int) or not 0 <= count <= 6:
        raise errors.invalid("ProtectedBranch", "required_approving_review_count")
    return {"required_approving_review_count": count}


def _existing(call: rest.Call, repo: database.Row) -> tuple[str, str]:
    """The branch of the path and its tip.

    Raises:
        ApiError: 404.
    """
    branch = call.param("branch")
    sha = pulls.branch_sha(call, repo, branch)
    if sha is None:
        raise errors.ApiError(404, "Branch not found")
    return branch, sha


async def list_all(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/branches"""
    repo = call.repository("contents:read")
    guarded = {row["branch"] for row in call.db.all("SELECT branch FROM protections WHERE repo_id = ?", repo["id"])}
    rows, total = call.select(
        "SELECT name, sha FROM refs WHERE repo_id = ? AND name LIKE 'refs/heads/%' ORDER BY name", repo["id"]
    )
    found = []
    for row in rows:
        name = row["name"].removeprefix("refs/heads/")
        commit = {"sha": row["sha"], "url": shapes.api(call.forge, repo, f"commits/{row['sha']}")}
        found.append({"name": name, "commit": commit, "protected": name in guarded})
    return call.paged(found, total)


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/branches/{branch}"""
    repo = call.repository("contents:read")
    branch, sha = _existing(call, repo)
    rules = verdicts.protection(call.forge, repo["id"], branch)
    url = shapes.api(call.forge, repo, f"branches/{quote(branch)}")
    found = {
        "name": branch,
        "commit": shapes.commit(call.forge, repo, await revisions.commit(call, repo, sha)),
        "_links": {"self": url, "html": shapes.page(call.forge, repo, f"tree/{quote(branch)}")},
        "protected": rules is not None,
        "protection": {
            "enabled": rules is not None,
            "required_status_checks": {
                "enforcement_level": "everyone" if rules and rules.contexts else "off",
                "contexts": list(rules.contexts) if rules else [],
                "checks": (rules.rules.get("required_status_checks") or {}).get("checks", []) if rules else [],
            },
        },
        "protection_url": f"{url}/protection",
    }
    return rest.answer(found)


async def get_protection(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/branches/{branch}/protection"""
    repo = call.repository("administration:read")
    branch, _ = _existing(call, repo)
    if (rules := verdicts.protection(call.forge, repo["id"], branch)) is None:
        raise errors.ApiError(404, "Branch not protected")
    return rest.answer(protection_shape(call, repo, branch, rules.rules))


async def put_protection(call: rest.Call) -> Response:
    """PUT /repos/{owner}/{repo}/branches/{branch}/protection"""
    repo = call.repository("administration:write")
    branch, _ = _existing(call, repo)
    rules = {
        "required_status_checks": _checks(call.data.get("required_status_checks")),
        "required_pull_request_reviews": _reviews(call.data.get("required_pull_request_reviews")),
    }
    call.db.run("INSERT OR REPLACE INTO protections VALUES (?, ?, ?)", repo["id"], branch, database.dump(rules))
    return rest.answer(protection_shape(call, repo, branch, rules))


async def delete_protection(call: rest.Call) -> Response:
    """DELETE /repos/{owner}/{repo}/branches/{branch}/protection"""
    repo = call.repository("administration:write")
    branch = call.param("branch")
    if not call.db.run("DELETE FROM protections WHERE repo_id = ? AND branch = ?", repo["id"], branch):
        raise errors.ApiError(404, "Branch not protected")
    return rest.answer(status=204)


async def rules(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/rules/branches/{branch}: the protection, told as rules of a ruleset."""
    repo = call.repository("metadata:read")
    guard = verdicts.protection(call.forge, repo["id"], call.param("branch"))
    if guard is None:
        return call.paged([], 0)
    source = {
        "ruleset_source_type": "Repository",
        "ruleset_source": f"{repo['owner']}/{repo['name']}",
        "ruleset_id": repo["id"],
    }
    found: list[dict[str, Any]] = [{"type": kind, **source} for kind in ("deletion", "non_fast_forward")]
    if guard.rules.get("required_status_checks") is not None:
        checks = [
            {"context": name} | ({} if app_id is None else {"integration_id": app_id})
            for name, app_id in guard.contexts.items()
        ]
        parameters = {"required_status_checks": checks, "strict_required_status_checks_policy": guard.strict}
        found.append({"type": "required_status_checks", "parameters": parameters, **source})
    if guard.rules.get("required_pull_request_reviews") is not None:
        reviews = {
            "dismiss_stale_reviews_on_push": False,
            "require_code_owner_review": False,
            "require_last_push_approval": False,
            "required_approving_review_count": guard.approvals,
            "required_review_thread_resolution": False,
        }
        found.append({"type": "pull_request", "parameters": reviews, **source})
    return call.paged(call.cut(found), len(found))


def valid_name(branch: str) -> str:
    """A branch name that git accepts.

    Raises:
        ApiError: 422.
    """
    if not git.valid_branch(branch):
        raise errors.invalid("Repository", "default_branch")
    return branch


_BRANCH = "/repos/{owner}/{repo}/branches/{branch:path}"
ROUTES: list[Route] = [
    rest.route("GET", "/repos/{owner}/{repo}/branches", list_all),
    rest.route("GET", f"{_BRANCH}/protection", get_protection),
    rest.route("PUT", f"{_BRANCH}/protection", put_protection),
    rest.route("DELETE", f"{_BRANCH}/protection", delete_protection),
    rest.route("GET", _BRANCH, get),
    rest.route("GET", "/repos/{owner}/{repo}/rules/branches/{branch:path}", rules),
]

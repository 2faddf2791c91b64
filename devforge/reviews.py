"""Reviews of pull requests, with comments on lines of the diff."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, clock, database, diffs, errors, git, issue_events, pull_events, pulls, rest, shapes, webhooks

_STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


def shape(call: rest.Call, repo: database.Row, number: int, row: database.Row) -> dict[str, Any]:
    """A review."""
    page = f"{shapes.page(call.forge, repo, f'pull/{number}')}#pullrequestreview-{row['id']}"
    url = shapes.api(call.forge, repo, f"pulls/{number}")
    found = {
        "id": row["id"],
        "node_id": shapes.node("PRR", row["id"]),
        "user": shapes.user_by_id(call.forge, row["user_id"]),
        "body": row["body"],
        "state": row["state"],
        "html_url": page,
        "pull_request_url": url,
        "author_association": shapes.association(call.forge, repo, row["user_id"]),
        "_links": {"html": {"href": page}, "pull_request": {"href": url}},
        "commit_id": row["commit_sha"],
    }
    if row["submitted_at"]:
        found["submitted_at"] = row["submitted_at"]
    return found


def comment_shape(call: rest.Call, repo: database.Row, number: int, row: database.Row) -> dict[str, Any]:
    """A comment on a line or a file of the diff."""
    url = shapes.api(call.forge, repo, f"pulls/comments/{row['id']}")
    pull = shapes.api(call.forge, repo, f"pulls/{number}")
    page = f"{shapes.page(call.forge, repo, f'pull/{number}')}#discussion_r{row['id']}"
    return {
        "url": url,
        "pull_request_review_id": row["review_id"],
        "id": row["id"],
        "node_id": shapes.node("PRRC", row["id"]),
        "diff_hunk": row["hunk"],
        "path": row["path"],
        "position": row["position"],
        "original_position": row["position"],
        "commit_id": row["commit_sha"],
        "original_commit_id": row["commit_sha"],
        "user": shapes.user_by_id(call.forge, row["user_id"]),
        "body": row["body"],
        "created_at": row["created_at"],
        "updated_at": row["created_at"],
        "html_url": page,
        "pull_request_url": pull,
        "author_association": shapes.association(call.forge, repo, row["user_id"]),
        "_links": {"self": {"href": url}, "html": {"href": page}, "pull_request": {"href": pull}},
        "start_line": row["start_line"],
        "original_start_line": row["start_line"],
        "start_side": row["start_side"],
        "line": row["line"],
        "original_line": row["line"],
        "side": row["side"] or "RIGHT",
        "subject_type": row["subject"],
        "reactions": shapes.reactions(url),
    }


def _find(call: rest.Call, pull: database.Row) -> database.Row:
    row = call.db.one("SELECT * FROM reviews WHERE issue_id = ? AND id = ?", pull["id"], call.number("review_id"))
    if row is None:
        raise errors.not_found()
    return row


async def _checked_comments(call: rest.Call, repo: database.Row, pull: database.Row, sha: str) -> list[dict[str, Any]]:
    """The comments of the request, each placed on a line that the diff has.

    Raises:
        ApiError: 422 for the whole review when one of them stands outside the diff.
    """
    wanted = call.data.get("comments") or []
    if not isinstance(wanted, list):
        raise errors.invalid("PullRequestReview", "comments")
    if not wanted:
        return []
    path = call.forge.git_dir(repo["id"])
    root = await git.merge_base(path, pull["base_sha"], sha)
    known = {file.path: file for file in await diffs.files(path, root, sha)}
    return [_placed(item, known) for item in wanted]


def _placed(item: Any, known: dict[str, diffs.File]) -> dict[str, Any]:
    resource = "PullRequestReviewComment"
    if not isinstance(item, dict) or not isinstance(item.get("body"), str) or not item["body"].strip():
        raise errors.invalid(resource, "body", "missing_field")
    file = known.get(str(item.get("path")))
    if file is None:
        raise errors.ApiError(422, "Unprocessable Entity", [{"message": "Path could not be resolved"}])
    if item.get("subject_type") == "file":
        return {"path": file.path, "body": item["body"], "subject": "file", "hunk": "", "line": None, "side": None}
    line, side = item.get("line"), item.get("side", "RIGHT")
    lines = diffs.commentable(file.patch)
    places = [(side, line)]
    if item.get("start_line") is not None:
        places.append((item.get("start_side", side), item["start_line"]))
    if not all(isinstance(place[1], int) and place in lines for place in places):
        raise errors.ApiError(422, "Unprocessable Entity", [{"message": "Line could not be resolved"}])
    return {
        "path": file.path,
        "body": item["body"],
        "subject": "line",
        "hunk": (file.patch or "").split("\n@@", 1)[0][:2000],
        "line": line,
        "side": side,
        "position": lines.get((side, line or 0)),
        "start_line": item.get("start_line"),
        "start_side": item.get("start_side", side) if item.get("start_line") is not None else None,
    }


def _verdict(call: rest.Call, pull: database.Row, event: str) -> str:
    """The state that an event gives a review.

    Raises:
        ApiError: 422 for an unknown event, one's own pull request, or a verdict without words.
    """
    if event not in _STATES:
        raise errors.invalid("PullRequestReview", "event")
    if event != "COMMENT" and pull["user_id"] == call.who.user_id:
        word = "approve" if event == "APPROVE" else "request changes on"
        raise errors.ApiError(422, "Unprocessable Entity", [{"message": f"Can not {word} your own pull request"}])
    if event != "APPROVE" and not call.text("body", "PullRequestReview", "").strip() and not call.data.get("comments"):
        raise errors.invalid("PullRequestReview", "body", "missing_field")
    return _STATES[event]


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/pulls/{number}/reviews"""
    auth.signed_in(call.who)
    need = "pull_requests:comment" if call.who.kind == "user" else "pull_requests:write"
    repo = call.repository(need)
    pull = pulls.find(call, repo)
    event = call.optional("event", "PullRequestReview")
    state = _verdict(call, pull, event) if event else "PENDING"
    sha = call.text("commit_id", "PullRequestReview", pull["head_sha"])
    body = call.optional("body", "PullRequestReview") or ""
    path = call.forge.git_dir(repo["id"])
    if sha != pull["head_sha"] and not (git.SHA.match(sha) and await git.is_ancestor(path, sha, pull["head_sha"])):
        raise errors.ApiError(422, "Unprocessable Entity", [{"message": "commit_id is not part of the pull request"}])
    comments = await _checked_comments(call, repo, pull, sha)
    with call.db.transaction():
        review_id = call.db.insert(
            "reviews",
            issue_id=pull["id"],
            user_id=call.who.user_id,
            state=state,
            body=body,
            commit_sha=sha,
            submitted_at=clock.now() if event else None,
        )
        for item in comments:
            call.db.insert(
                "review_comments",
                review_id=review_id,
                issue_id=pull["id"],
                user_id=call.who.user_id,
                commit_sha=sha,
                created_at=clock.now(),
                **item,
            )
        if event:
            _submitted(call, repo, pull, review_id, "submitted")
    row = call.db.get("SELECT * FROM reviews WHERE id = ?", review_id)
    return rest.answer(shape(call, repo, pull["number"], row))


def _submitted(call: rest.Call, repo: database.Row, pull: database.Row, review_id: int, action: str) -> None:
    """Write what a submitted or dismissed review brings with it. The caller holds a transaction."""
    call.db.update("issues", pull["id"], updated_at=clock.now())
    call.db.run("DELETE FROM requested_reviewers WHERE issue_id = ? AND user_id = ?", pull["id"], call.who.user_id)
    row = call.db.get("SELECT * FROM reviews WHERE id = ?", review_id)
    issue_events.note(call.forge, pull["id"], call.who.user_id, "reviewed", {"review": review_id})

    def payload() -> dict[str, Any]:
        found = shape(call, repo, pull["number"], row)
        return {
            "review": found | {"state": row["state"].lower()},
            "pull_request": pull_events.simple(call.forge, repo, pull),
        }

    webhooks.emit(call.forge, repo, "pull_request_review", action, call.who.user_id, payload)


async def list_all(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}/reviews"""
    repo = call.repository("pull_requests:read")
    pull = pulls.find(call, repo)
    rows, total = call.select(
        "SELECT * FROM reviews WHERE issue_id = ? AND (state != 'PENDING' OR user_id = ?) ORDER BY id",
        pull["id"],
        call.who.user_id,
    )
    return call.paged((shape(call, repo, pull["number"], row) for row in rows), total)


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}/reviews/{review_id}"""
    repo = call.repository("pull_requests:read")
    pull = pulls.find(call, repo)
    return rest.answer(shape(call, repo, pull["number"], _find(call, pull)))


async def dismiss(call: rest.Call) -> Response:
    """PUT /repos/{owner}/{repo}/pulls/{number}/reviews/{review_id}/dismissals"""
    repo = call.repository("pull_requests:write")
    pull = pulls.find(call, repo)
    row = _find(call, pull)
    call.text("message", "PullRequestReview")
    if row["state"] not in ("APPROVED", "CHANGES_REQUESTED"):
        raise errors.refused("Can not dismiss a commented pull request review")
    with call.db.transaction():
        call.db.update("reviews", row["id"], state="DISMISSED")
        _submitted(call, repo, pull, row["id"], "dismissed")
    return rest.answer(shape(call, repo, pull["number"], _find(call, pull)))


async def review_comments(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}/reviews/{review_id}/comments"""
    repo = call.repository("pull_requests:read")
    pull = pulls.find(call, repo)
    sql = "SELECT * FROM review_comments WHERE review_id = ? ORDER BY id"
    rows, total = call.select(sql, _find(call, pull)["id"])
    return call.paged((comment_shape(call, repo, pull["number"], row) for row in rows), total)


async def pull_comments(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}/comments"""
    repo = call.repository("pull_requests:read")
    pull = pulls.find(call, repo)
    rows, total = call.select("SELECT * FROM review_comments WHERE issue_id = ? ORDER BY id", pull["id"])
    return call.paged((comment_shape(call, repo, pull["number"], row) for row in rows), total)


_PULL = "/repos/{owner}/{repo}/pulls/{number:int}"
ROUTES: list[Route] = [
    rest.route("GET", f"{_PULL}/reviews", list_all),
    rest.route("POST", f"{_PULL}/reviews", create),
    rest.route("GET", f"{_PULL}/comments", pull_comments),
    rest.route("GET", f"{_PULL}/reviews/{{review_id}}", get),
    rest.route("GET", f"{_PULL}/reviews/{{review_id}}/comments", review_comments),
    rest.route("PUT", f"{_PULL}/reviews/{{review_id}}/dismissals", dismiss),
]

"""Pull requests over REST: create, list, read, change, follow the base."""

from starlette.responses import Response
from starlette.routing import Route

from devforge import (
    auth,
    ci,
    clock,
    database,
    diffs,
    errors,
    git,
    issue_events,
    issues,
    labels,
    merges,
    observe,
    pull_events,
    pull_facts,
    rest,
    shapes,
)

_SORTS = {"created": "i.created_at", "updated": "i.updated_at"}


def find(call: rest.Call, repo: database.Row) -> database.Row:
    """The pull request of the path.

    Raises:
        ApiError: 404.
    """
    row = call.db.one(f"{pull_events.SELECT} WHERE i.repo_id = ? AND i.number = ?", repo["id"], call.number())
    if row is None:
        raise errors.not_found()
    return row


def branch_sha(call: rest.Call, repo: database.Row, branch: str) -> str | None:
    """The tip of a branch, or None."""
    found = call.db.scalar("SELECT sha FROM refs WHERE repo_id = ? AND name = ?", repo["id"], f"refs/heads/{branch}")
    return None if found is None else str(found)


def person(call: rest.Call) -> git.Person:
    """The caller as a committer."""
    row = call.db.get("SELECT login, email FROM users WHERE id = ?", call.who.user_id)
    return git.Person(row["login"], row["email"])


async def shown(call: rest.Call, repo: database.Row, issue_id: int, status: int = 200) -> Response:
    """Answer the complete pull request."""
    row = pull_events.get(call.forge, issue_id)
    facts = await pull_facts.compute(call.forge, repo, row)
    return rest.answer(pull_events.full(call.forge, repo, row, facts, call.version), status)


async def list_all(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls"""
    repo = call.repository("pull_requests:read")
    clauses, values = ["i.repo_id = ?"], [repo["id"]]
    if (wanted := call.query("state", "open")) != "all":
        clauses.append("i.state = ?")
        values.append(wanted)
    if head := call.query("head"):
        owner, _, branch = head.partition(":")
        if branch:  # GitHub ignores a head that does not name its owner
            clauses += ["p.head_ref = ?", "? = ?"]
            values += [branch, owner.lower(), repo["owner"].lower()]
    if base := call.query("base"):
        clauses.append("p.base_ref = ?")
        values.append(base)
    column = _SORTS.get(call.query("sort", "created"), _SORTS["created"])
    way = "ASC" if call.query("direction") == "asc" else "DESC"
    rows, total = call.select(
        f"{pull_events.SELECT} WHERE {' AND '.join(clauses)} ORDER BY {column} {way}, i.number {way}", *values
    )
    whole = shapes.repository(call.forge, repo)
    return call.paged((pull_events.simple(call.forge, repo, row, call.version, whole) for row in rows), total)


def _head_branch(call: rest.Call, repo: database.Row) -> str:
    """The head branch of a create request, given as `branch` or `owner:branch`."""
    text = call.text("head", "PullRequest")
    owner, colon, branch = text.partition(":")
    if colon and owner.lower() != repo["owner"].lower():
        raise errors.invalid("PullRequest", "head")
    return branch if colon else text


async def create(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/pulls"""
    auth.signed_in(call.who)
    repo = call.repository("pull_requests:write")
    title, base_ref = call.text("title", "PullRequest"), call.text("base", "PullRequest")
    body, draft = call.optional("body", "PullRequest"), call.flag("draft", "PullRequest")
    if not title.strip():
        raise errors.invalid("PullRequest", "title", "missing_field")
    head_ref = _head_branch(call, repo)
    async with call.forge.lock(repo["id"]):
        base, head = branch_sha(call, repo, base_ref), branch_sha(call, repo, head_ref)
        if base is None or head is None:
            raise errors.invalid("PullRequest", "base" if base is None else "head")
        await _refuse_empty(call, repo, (base_ref, base), (head_ref, head))
        plan = await ci.declared(call.forge, repo, head)
        with call.db.transaction():
            issue_id = issues.insert(call, repo, title, body)
            number = int(call.db.scalar("SELECT number FROM issues WHERE id = ?", issue_id))
            call.db.insert(
                "pulls",
                issue_id=issue_id,
                repo_id=repo["id"],
                head_ref=head_ref,
                head_sha=head,
                base_ref=base_ref,
                base_sha=base,
                draft=int(draft),
            )
            pull_events.emit(call.forge, repo, issue_id, "opened", call.who.user_id)
            ci.schedule(call.forge, repo, head, head_ref, plan)
        await pull_events.set_head_ref(call.forge, repo, number, head)
    return await shown(call, repo, issue_id, 201)


async def _refuse_empty(call: rest.Call, repo: database.Row, base: tuple[str, str], head: tuple[str, str]) -> None:
    """Refuse a second pull request for the same branches, and one without commits."""
    exists = call.db.one(
        f"{pull_events.SELECT} WHERE p.repo_id = ? AND p.head_ref = ? AND p.base_ref = ? AND i.state = 'open'",
        repo["id"],
        head[0],
        base[0],
    )
    if exists:
        raise errors.refused(f"A pull request already exists for {repo['owner']}:{head[0]}.", "PullRequest")
    if await git.is_ancestor(call.forge.git_dir(repo["id"]), head[1], base[1]):
        raise errors.refused(f"No commits between {base[0]} and {head[0]}", "PullRequest")


async def get(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}"""
    repo = call.repository("pull_requests:read")
    row = find(call, repo)
    if call.wants("diff"):
        root = await _root(call, repo, row)
        return rest.media(await diffs.text(call.forge.git_dir(repo["id"]), root, row["head_sha"]), "diff")
    return await shown(call, repo, row["id"])


async def patch(call: rest.Call) -> Response:
    """PATCH /repos/{owner}/{repo}/pulls/{number}"""
    auth.signed_in(call.who)
    repo = call.repository()
    row = find(call, repo)
    if row["user_id"] != call.who.user_id or call.who.kind == "installation":
        auth.require(call.forge, call.who, repo, "pull_requests:write")
    wanted, base = call.optional("state", "PullRequest"), call.optional("base", "PullRequest")
    if wanted not in (None, "open", "closed"):
        raise errors.invalid("PullRequest", "state")
    async with call.forge.lock(repo["id"]):
        row = find(call, repo)
        base_sha = branch_sha(call, repo, base) if base else None
        if base and base_sha is None:
            raise errors.invalid("PullRequest", "base")
        if wanted == "open" and row["state"] == "closed":
            await _refuse_reopen(call, repo, row)
        with call.db.transaction():
            changes = issues.retitle(call, row, "PullRequest")
            if base and base != row["base_ref"]:
                changes["base"] = {"ref": {"from": row["base_ref"]}, "sha": {"from": row["base_sha"]}}
                call.db.update("pulls", row["id"], "issue_id", base_ref=base, base_sha=base_sha)
                detail = {"from": row["base_ref"], "to": base}
                issue_events.note(call.forge, row["id"], call.who.user_id, "base_changed", detail)
            if changes:
                pull_events.emit(call.forge, repo, row["id"], "edited", call.who.user_id, {"changes": changes})
            if wanted == "closed" and row["state"] == "open":
                pull_events.close(call.forge, repo, row["id"], call.who.user_id)
            elif wanted == "open" and row["state"] == "closed":
                _reopen(call, repo, row)
    return await shown(call, repo, row["id"])


async def _refuse_reopen(call: rest.Call, repo: database.Row, row: database.Row) -> None:
    head, base = branch_sha(call, repo, row["head_ref"]), branch_sha(call, repo, row["base_ref"])
    if row["merged_at"] or head is None or base is None:
        raise errors.refused("state cannot be changed. The pull request cannot be reopened.", "PullRequest")
    await _refuse_empty(call, repo, (row["base_ref"], base), (row["head_ref"], head))
    await pull_events.set_head_ref(call.forge, repo, row["number"], head)


def _reopen(call: rest.Call, repo: database.Row, row: database.Row) -> None:
    """A reopened pull request stands on the present tips. The caller holds a transaction."""
    call.db.update(
        "pulls",
        row["id"],
        "issue_id",
        head_sha=branch_sha(call, repo, row["head_ref"]),
        base_sha=branch_sha(call, repo, row["base_ref"]),
    )
    pull_events.reopen(call.forge, repo, row["id"], call.who.user_id)


async def _root(call: rest.Call, repo: database.Row, row: database.Row) -> str | None:
    return await git.merge_base(call.forge.git_dir(repo["id"]), row["base_sha"], row["head_sha"])


async def files(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}/files"""
    repo = call.repository("pull_requests:read")
    row = find(call, repo)
    found = await diffs.files(call.forge.git_dir(repo["id"]), await _root(call, repo, row), row["head_sha"])
    shown_files = [diffs.shape(call.forge, repo, row["head_sha"], file) for file in call.cut(found)]
    return call.paged(shown_files, len(found))


async def commits(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}/commits"""
    repo = call.repository("pull_requests:read")
    row = find(call, repo)
    found = await git.commits(call.forge.git_dir(repo["id"]), row["head_sha"], f"^{row['base_sha']}")
    found.reverse()
    return call.paged((shapes.commit(call.forge, repo, commit) for commit in call.cut(found)), len(found))


async def update_branch(call: rest.Call) -> Response:
    """PUT /repos/{owner}/{repo}/pulls/{number}/update-branch"""
    repo = call.repository("pull_requests:write")
    auth.require(call.forge, call.who, repo, "contents:write")
    path = call.forge.git_dir(repo["id"])
    async with call.forge.lock(repo["id"]):
        row = find(call, repo)
        expected = call.optional("expected_head_sha", "PullRequest")
        if row["state"] != "open":
            raise errors.refused("The pull request is closed.")
        if expected and expected != row["head_sha"]:
            raise errors.refused(f"expected head sha didn't match current head ref: it is {row['head_sha']}.")
        if await git.is_ancestor(path, row["base_sha"], row["head_sha"]):
            raise errors.refused("There are no new commits on the base branch.")
        message = f"Merge branch '{row['base_ref']}' into {row['head_ref']}"
        try:
            sha = await merges.merge(path, row["head_sha"], row["base_sha"], message, person(call))
        except merges.Conflict as conflict:
            raise errors.refused("merge conflict between base and head") from conflict
        await git.update(path, f"refs/heads/{row['head_ref']}", sha, row["head_sha"])
        await observe.refs(call.forge, repo, call.who.user_id, {f"refs/heads/{row['head_ref']}": sha})
    url = shapes.api(call.forge, repo, f"pulls/{row['number']}")
    return rest.answer({"message": "Updating pull request branch.", "url": url}, 202)


async def request_reviewers(call: rest.Call) -> Response:
    """POST /repos/{owner}/{repo}/pulls/{number}/requested_reviewers"""
    repo = call.repository("pull_requests:write")
    row = find(call, repo)
    with call.db.transaction():
        for login in call.texts("reviewers", "PullRequest"):
            user = call.db.one("SELECT * FROM users WHERE login = ?", login)
            if user is None or user["id"] == row["user_id"]:
                raise errors.refused("Review cannot be requested from pull request author, or from strangers.")
            call.db.run("INSERT OR IGNORE INTO requested_reviewers VALUES (?, ?)", row["id"], user["id"])
        call.db.update("issues", row["id"], updated_at=clock.now())
    return rest.answer(pull_events.simple(call.forge, repo, find(call, repo), call.version), 201)


async def list_reviewers(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}/requested_reviewers"""
    repo = call.repository("pull_requests:read")
    found = pull_events.simple(call.forge, repo, find(call, repo), call.version)
    return rest.answer({"users": found["requested_reviewers"], "teams": []})


def set_draft(call: rest.Call, repo: database.Row, row: database.Row, draft: bool) -> None:
    """Make a pull request a draft or ready, with its event."""
    if bool(row["draft"]) == draft:
        return
    with call.db.transaction():
        call.db.update("pulls", row["id"], "issue_id", draft=int(draft))
        call.db.update("issues", row["id"], updated_at=clock.now())
        action = "converted_to_draft" if draft else "ready_for_review"
        issue_events.note(call.forge, row["id"], call.who.user_id, action)
        labels.announce(call.forge, repo, row["id"], action, call.who.user_id, {})


_PULL = "/repos/{owner}/{repo}/pulls/{number:int}"
ROUTES: list[Route] = [
    rest.route("GET", "/repos/{owner}/{repo}/pulls", list_all),
    rest.route("POST", "/repos/{owner}/{repo}/pulls", create),
    rest.route("GET", _PULL, get),
    rest.route("PATCH", _PULL, patch),
    rest.route("GET", f"{_PULL}/files", files),
    rest.route("GET", f"{_PULL}/commits", commits),
    rest.route("PUT", f"{_PULL}/update-branch", update_branch),
    rest.route("GET", f"{_PULL}/requested_reviewers", list_reviewers),
    rest.route("POST", f"{_PULL}/requested_reviewers", request_reviewers),
]

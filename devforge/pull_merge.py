"""Merging a pull request: everything that can stand against it, then one commit and one moved ref."""

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, database, errors, git, merges, observe, pull_events, pull_facts, pulls, rest, verdicts

METHODS = ("merge", "squash", "rebase")


async def _refuse(call: rest.Call, repo: database.Row, row: database.Row) -> None:
    """Say why a pull request cannot be merged, in GitHub's codes.

    Raises:
        ApiError: 405 when it is not mergeable, 409 when its head moved.
    """
    if row["state"] != "open":
        raise errors.ApiError(405, "Pull Request is not mergeable")
    if (sha := call.optional("sha", "PullRequest")) and sha != row["head_sha"]:
        raise errors.ApiError(409, "Head branch was modified. Review and try the merge again.")
    if row["draft"]:
        raise errors.ApiError(405, "Pull Request is still a draft")
    facts = await pull_facts.compute(call.forge, repo, row)
    if not facts.mergeable:
        raise errors.ApiError(405, "Pull Request is not mergeable")
    rules = verdicts.protection(call.forge, repo["id"], row["base_ref"])
    if rules is None:
        return
    if why := pull_facts.obstacle(call.forge, repo, row, rules):
        raise errors.ApiError(405, why)
    if rules.strict and facts.behind:
        raise errors.ApiError(405, "Head branch is out of date. Review and try the merge again.")


async def _commit(call: rest.Call, repo: database.Row, row: database.Row, method: str) -> str:
    """Write the commit that the base will become; nothing refers to it yet."""
    path, who = call.forge.git_dir(repo["id"]), pulls.person(call)
    base, head, number = row["base_sha"], row["head_sha"], row["number"]
    title, text = call.optional("commit_title", "PullRequest"), call.optional("commit_message", "PullRequest")
    if method == "rebase":
        return await merges.rebase(path, base, head, who)
    if method == "squash":
        usual = f"{row['title']} (#{number})"
        message = f"{title or usual}\n\n{(row['body'] or '') if text is None else text}"
        author = call.db.get("SELECT login, email FROM users WHERE id = ?", row["user_id"])
        return await merges.squash(path, base, head, message, who, git.Person(author["login"], author["email"]))
    usual = f"Merge pull request #{number} from {repo['owner']}/{row['head_ref']}"
    message = f"{title or usual}\n\n{row['title'] if text is None else text}"
    return await merges.merge(path, base, head, message, who)


async def merge(call: rest.Call) -> Response:
    """PUT /repos/{owner}/{repo}/pulls/{number}/merge"""
    auth.signed_in(call.who)
    repo = call.repository("contents:write")
    method = call.text("merge_method", "PullRequest", "merge")
    if method not in METHODS:
        raise errors.invalid("PullRequest", "merge_method")
    path = call.forge.git_dir(repo["id"])
    async with call.forge.lock(repo["id"]):
        row = pulls.find(call, repo)
        await _refuse(call, repo, row)
        try:
            sha = await _commit(call, repo, row, method)
        except merges.Conflict as conflict:
            raise errors.ApiError(405, "Pull Request is not mergeable") from conflict
        # Written first: were the server killed between the two steps below, the restarted one finds the base at
        # this commit and knows that the pull request is merged, also when a squash leaves no trace of its head.
        call.db.update("pulls", row["id"], "issue_id", pending_merge_sha=sha)
        await git.update(path, f"refs/heads/{row['base_ref']}", sha, row["base_sha"])
        await observe.refs(call.forge, repo, call.who.user_id, {f"refs/heads/{row['base_ref']}": sha})
    return rest.answer({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


async def is_merged(call: rest.Call) -> Response:
    """GET /repos/{owner}/{repo}/pulls/{number}/merge"""
    repo = call.repository("pull_requests:read")
    row = pull_events.get(call.forge, pulls.find(call, repo)["id"])
    if row["merged_at"] is None:
        raise errors.not_found()
    return rest.answer(status=204)


_MERGE = "/repos/{owner}/{repo}/pulls/{number:int}/merge"
ROUTES: list[Route] = [rest.route("GET", _MERGE, is_merged), rest.route("PUT", _MERGE, merge)]

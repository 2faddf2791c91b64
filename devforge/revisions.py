"""What a name in a request means: a branch, a tag, a full ref or a commit id."""

from devforge import database, errors, git, rest


async def resolve(call: rest.Call, repo: database.Row, name: str) -> str:
    """The commit that a name means in a repository.

    Raises:
        ApiError: 404 for an unknown ref, 422 for a commit id that the repository does not have.
    """
    for candidate in (f"refs/heads/{name}", f"refs/tags/{name}", f"refs/{name}", name):
        sha = call.db.scalar("SELECT sha FROM refs WHERE repo_id = ? AND name = ?", repo["id"], candidate)
        if sha is not None:
            return await _commit_of(call, repo, str(sha))
    path = call.forge.git_dir(repo["id"])
    if git.SHA.match(name):
        if await git.commit(path, name) is not None:
            return name
        raise errors.ApiError(422, f"No commit found for SHA: {name}")
    if (found := await git.expand(path, name)) is not None:
        return found
    raise errors.not_found()


async def _commit_of(call: rest.Call, repo: database.Row, sha: str) -> str:
    """A branch names a commit; an annotated tag has to be followed to one."""
    path = call.forge.git_dir(repo["id"])
    if await git.commit(path, sha) is not None:
        return sha
    peeled = await git.expand(path, sha)
    if peeled is None:
        raise errors.not_found()
    return peeled


async def commit(call: rest.Call, repo: database.Row, sha: str) -> git.Commit:
    """The commit object of an id.

    Raises:
        ApiError: 422 when the repository does not have it.
    """
    found = await git.commit(call.forge.git_dir(repo["id"]), sha) if git.SHA.match(sha) else None
    if found is None:
        raise errors.ApiError(422, f"No commit found for SHA: {sha}")
    return found

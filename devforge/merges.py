"""Making commits in a bare repository: merge, squash and rebase through `merge-tree`, without any work tree."""

from pathlib import Path

from devforge import clock, errors, git

_CACHE_LIMIT = 10_000
_trees: dict[tuple[Path, str, str], str | None] = {}


class Conflict(Exception):
    """The two sides cannot be merged by git alone."""


async def merge_tree(repository: Path, ours: str, theirs: str) -> str | None:
    """The tree of a clean merge, or None for a conflict or unrelated histories. Cached: commits never change."""
    key = (repository, ours, theirs)
    if key not in _trees:
        result = await git.run(repository, "merge-tree", "--write-tree", ours, theirs, ok=(0, 1, 128))
        if result.code == 128 and "unrelated histories" not in result.err:
            raise errors.GitFailed(["merge-tree", ours, theirs], result.code, result.err)
        if len(_trees) > _CACHE_LIMIT:
            _trees.clear()
        _trees[key] = result.text.split("\n", 1)[0] if result.code == 0 else None
    return _trees[key]


async def commit_tree(
    repository: Path,
    tree: str,
    parents: tuple[str, ...],
    message: str,
    committer: git.Person,
    author: git.Person | None = None,
) -> str:
    """Write one commit; its id. Without an author the committer is it."""
    who = author or committer
    now = clock.now()
    extra = {
        "GIT_AUTHOR_NAME": who.name or "nobody",
        "GIT_AUTHOR_EMAIL": who.email or "nobody@devforge.invalid",
        "GIT_AUTHOR_DATE": who.date or now,
        "GIT_COMMITTER_NAME": committer.name,
        "GIT_COMMITTER_EMAIL": committer.email,
        "GIT_COMMITTER_DATE": now,
    }
    flags = [part for parent in parents for part in ("-p", parent)]
    text = message.rstrip("\n") + "\n"
    result = await git.run(repository, "commit-tree", tree, *flags, "-F", "-", stdin=text.encode(), extra=extra)
    return result.text.strip()


async def merge(repository: Path, base: str, head: str, message: str, who: git.Person) -> str:
    """A merge commit of `head` into `base`.

    Raises:
        Conflict: the merge is not clean.
    """
    tree = await merge_tree(repository, base, head)
    if tree is None:
        raise Conflict
    return await commit_tree(repository, tree, (base, head), message, who)


async def squash(repository: Path, base: str, head: str, message: str, who: git.Person, author: git.Person) -> str:
    """One commit on `base` with everything that `head` brings.

    Raises:
        Conflict: the merge is not clean.
    """
    tree = await merge_tree(repository, base, head)
    if tree is None:
        raise Conflict
    return await commit_tree(repository, tree, (base,), message, who, author)


async def rebase(repository: Path, base: str, head: str, who: git.Person) -> str:
    """Each commit of `base..head` once more on top of `base`; the new tip.

    Raises:
        Conflict: one of the commits does not apply.
    """
    tip = base
    for commit in reversed(await git.commits(repository, head, f"^{base}", limit=1000)):
        if len(commit.parents) != 1:
            raise Conflict
        tree = await _pick(repository, tip, commit, who)
        if tree is None:
            raise Conflict
        tip = await commit_tree(repository, tree, (tip,), commit.message, who, commit.author)
    return tip


async def _pick(repository: Path, onto: str, commit: git.Commit, who: git.Person) -> str | None:
    """The tree of `commit` applied to `onto`.

    `merge-tree` chooses the merge base itself, so three stand-in commits are written whose only common ancestor
    holds the tree of the commit's parent: their merge is exactly the pick.
    """
    before = await git.commit(repository, commit.parents[0])
    target = await git.commit(repository, onto)
    if before is None or target is None:
        return None
    root = await commit_tree(repository, before.tree, (), "before", who)
    ours = await commit_tree(repository, target.tree, (root,), "onto", who)
    theirs = await commit_tree(repository, commit.tree, (root,), "picked", who)
    return await merge_tree(repository, ours, theirs)

"""Which changes of protected paths are a person's, who may make them, and not the agent's, who may not. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from domain import errors, work
from integrations.git import checks

MOST_FILES: Final = 200
"""Protected paths that one handback may change: they travel with the run. More belong into a change of their own."""


@dataclass(frozen=True)
class Accepted:
    """What persons did, oldest first."""

    commits: Sequence[work.AcceptedCommit] = ()

    def covers(self, sha: str, change: checks.Change) -> bool:
        """Whether a commit may make this change of a protected path: it is a person's own commit, or it gives the path
        exactly what the newest of those gave it, as one that the agent has amended or rebased does."""
        given = [(commit.sha, each) for commit in self.commits for each in commit.files if each.path == change.path]
        if any(own == sha for own, _ in given):
            return True
        return bool(given) and (given[-1][1].mode, given[-1][1].blob) == (change.new_mode, change.new_blob)


NOTHING: Final = Accepted()


def commits_of(
    found: checks.Range,
    rules: checks.Rules,
    *,
    by: str,
    before: Collection[str],
    leftover: str = "",
    changed_since: Collection[str] = (),
) -> tuple[work.AcceptedCommit, ...]:
    """The commits of a range in which a person changed protected paths.

    Args:
        by: The person.
        before: Commits that were there when they got the worktree: the agent's.
        leftover: The commit of what was uncommitted at their handback. Who left it uncommitted, it does not say.
        changed_since: Paths of it that were not so when they got the worktree. The others are the agent's, until a
            person commits them.

    Raises:
        UnsafeWork: they are more than travel with a run.
    """
    commits = []
    for commit in found.commits:
        if commit.sha in before:
            continue
        files = tuple(
            work.ProtectedFile(path=change.path, mode=change.new_mode, blob=change.new_blob)
            for change in commit.own_changes()
            if checks.protected_by(change.path, rules.protected)
            and (commit.sha != leftover or change.path in changed_since)
        )
        if files:
            commits.append(work.AcceptedCommit(sha=commit.sha, by=by, files=files))
    if sum(len(each.files) for each in commits) > MOST_FILES:
        raise errors.UnsafeWork(
            f"the work was not published: {by} changed more than {MOST_FILES} protected paths by hand, the limit is "
            f"{MOST_FILES}: take those changes out of every commit, a person makes them in a pull request of their own"
        )
    return tuple(commits)

"""What git and the checks say about a pull request: is it mergeable, is it behind, how large is it."""

import asyncio
from dataclasses import dataclass

from devforge import database, diffs, git, merges, state, verdicts

_CACHE_LIMIT = 5_000


@dataclass(frozen=True)
class Facts:
    """About one pair of commits; the default is what events say before anybody computed it."""

    mergeable: bool | None = None
    behind: int = 0
    commits: int = 0
    additions: int = 0
    deletions: int = 0
    changed_files: int = 0


UNKNOWN = Facts()
_known: dict[tuple[int, str, str, str], Facts] = {}


def cached(repo: database.Row, pull: database.Row, root: str = "") -> Facts:
    """The facts, if they were computed before."""
    return _known.get((repo["id"], root, pull["base_sha"], pull["head_sha"]), UNKNOWN)


async def compute(forge: state.Forge, repo: database.Row, pull: database.Row) -> Facts:
    """The facts about the present base and head of a pull request. Cached: commits never change."""
    base, head = pull["base_sha"], pull["head_sha"]
    key = (repo["id"], str(forge.root), base, head)
    if key not in _known:
        path = forge.git_dir(repo["id"])
        tree, (ahead, behind), root = await asyncio.gather(
            merges.merge_tree(path, base, head), git.distance(path, base, head), git.merge_base(path, base, head)
        )
        files = await diffs.files(path, root, head)
        if len(_known) > _CACHE_LIMIT:
            _known.clear()
        _known[key] = Facts(
            tree is not None,
            behind,
            ahead,
            sum(file.additions for file in files),
            sum(file.deletions for file in files),
            len(files),
        )
    return _known[key]


def merge_state(forge: state.Forge, repo: database.Row, pull: database.Row, facts: Facts) -> str:
    """GitHub's `mergeable_state`: clean, unstable, behind, blocked, dirty, draft or unknown."""
    if pull["state"] != "open" or facts.mergeable is None:
        return "unknown"
    if not facts.mergeable:
        return "dirty"
    if pull["draft"]:
        return "draft"
    rules = verdicts.protection(forge, repo["id"], pull["base_ref"])
    if rules is not None:
        if obstacle(forge, repo, pull, rules):
            return "blocked"
        if rules.strict and facts.behind:
            return "behind"
    words = [word for found in verdicts.results(forge, repo["id"], pull["head_sha"]).values() for _, word in found]
    return "clean" if all(word == "success" for word in words) else "unstable"


def obstacle(forge: state.Forge, repo: database.Row, pull: database.Row, rules: verdicts.Protection) -> str | None:
    """What branch protection still asks of a pull request, as GitHub's sentence, or None."""
    if lacking := verdicts.missing(forge, repo["id"], pull["head_sha"], rules):
        return verdicts.refusal(lacking)
    if rules.rules.get("required_pull_request_reviews") is None:
        return None
    approved, refused = verdicts.approvals(forge, repo, pull["id"])
    if refused:
        return "Changes have been requested by a reviewer with write access."
    if approved < rules.approvals:
        noun = "review is" if rules.approvals == 1 else "reviews are"
        return f"At least {rules.approvals} approving {noun} required by reviewers with write access."
    return None

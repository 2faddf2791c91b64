"""What a run adds to its base: which commits, whether a rule speaks against one, what is found on their lines."""

from dataclasses import dataclass

from domain import safety, work
from integrations.git import by_hand, checks, facts, mirror


@dataclass(frozen=True)
class Span:
    """The work as commits: `head` without what `base_tip` has, and the newest commit they share."""

    base: str
    base_tip: str
    head: str


async def span(source: mirror.Mirror, base_branch: str, head: str) -> Span:
    """The span from the base branch, as of the last fetch, to `head`.

    Raises:
        UnsafeWork: they have no commit in common.
    """
    base_tip = await source.branch(base_branch)
    base = await source.merge_base(base_tip, head) if base_tip else ""
    if not base:
        raise checks.unrelated(head)
    return Span(base, base_tip, head)


def check(
    source: mirror.Mirror, found: Span, rules: checks.Rules, accepted: by_hand.Accepted = by_hand.NOTHING
) -> None:
    """Check every commit of the span; blocking. Raises UnsafeWork with the first rule that one breaks."""
    with facts.Reader.open(source.path, rules.limits) as reader:
        checks.check(reader.work(base=found.base, base_tip=found.base_tip, head=found.head), rules, accepted.covers)


def persons_commits(
    source: mirror.Mirror, found: Span, rules: checks.Rules, *, by: str, since: work.HandedOver, leftover: str
) -> tuple[work.AcceptedCommit, ...]:
    """The commits of the span in which a person changed protected paths; blocking.

    Args:
        by: The person.
        since: What the agent had left when they got the worktree.
        leftover: The commit that was made of uncommitted files, if one was.

    Raises:
        UnsafeWork: more commits or changes than the limits let us read, or than travel with a run.
    """
    if not since.head_sha:
        return ()
    with facts.Reader.open(source.path, rules.limits) as reader:
        theirs = reader.work(base=found.base, base_tip=found.base_tip, head=found.head)
        before = reader.work(base=found.base, base_tip=found.base_tip, head=since.head_sha)
        made = any(commit.sha == leftover for commit in theirs.commits)
        changed = reader.paths_changed_since(since.tree_sha, leftover) if made else frozenset()
        return by_hand.commits_of(
            theirs,
            rules,
            by=by,
            before={commit.sha for commit in before.commits},
            leftover=leftover,
            changed_since=changed,
        )


def examine(
    source: mirror.Mirror,
    found: Span,
    rules: checks.Rules,
    redactor: safety.Redactor,
    *,
    unchanged_too: bool = False,
    accepted: by_hand.Accepted = by_hand.NOTHING,
) -> work.Integration:
    """Check every commit of the span and look for secrets in each line they add; blocking.

    Args:
        unchanged_too: Look at the commits also when together they change nothing.
        accepted: What persons who had the worktree may have changed.

    Returns:
        What is known before the push: the outcome is `PUSHED` when nothing speaks against it.

    Raises:
        UnsafeWork: a commit breaks a rule.
    """
    with facts.Reader.open(source.path, rules.limits) as reader:
        result = work.Integration(outcome=work.IntegrationOutcome.NO_CHANGES, head_sha=found.head, base_sha=found.base)
        if not unchanged_too and reader.same_tree(found.base, found.head):
            return result
        commits = reader.work(base=found.base, base_tip=found.base_tip, head=found.head)
        checks.check(commits, rules, accepted.covers)
        added = (text for commit in commits.commits for text in reader.added(commit))
        findings = safety.scan(added, redactor)
        outcome = work.IntegrationOutcome.UNSAFE if safety.blocks(findings) else work.IntegrationOutcome.PUSHED
        files = reader.changed_paths(found.base, found.head)
        return result.model_copy(update={"outcome": outcome, "files": files, "findings": findings})

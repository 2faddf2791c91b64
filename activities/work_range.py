"""What a run adds to its base: which commits, whether a rule speaks against one, what is found on their lines."""

from dataclasses import dataclass

from domain import safety, work
from integrations.git import checks, facts, mirror


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


def check(source: mirror.Mirror, found: Span, rules: checks.Rules) -> None:
    """Check every commit of the span; blocking. Raises UnsafeWork with the first rule that one breaks."""
    with facts.Reader.open(source.path, rules.limits) as reader:
        checks.check(reader.work(base=found.base, base_tip=found.base_tip, head=found.head), rules)


def examine(
    source: mirror.Mirror, found: Span, rules: checks.Rules, redactor: safety.Redactor, *, unchanged_too: bool = False
) -> work.Integration:
    """Check every commit of the span and look for secrets in each line they add; blocking.

    Args:
        unchanged_too: Look at the commits also when together they change nothing.

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
        checks.check(commits, rules)
        added = (text for commit in commits.commits for text in reader.added(commit))
        findings = safety.scan(added, redactor)
        outcome = work.IntegrationOutcome.UNSAFE if safety.blocks(findings) else work.IntegrationOutcome.PUSHED
        files = reader.changed_paths(found.base, found.head)
        return result.model_copy(update={"outcome": outcome, "files": files, "findings": findings})

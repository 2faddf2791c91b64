"""A run's work in progress, pushed to a ref of its own so that another host can go on from it.

The work is taken into the mirror and judged exactly as for a pull request: what a rule or the safety scan blocks stays
on this host, and the caller is told why. The push is the fence between hosts: each moves the ref from the commit it
knows, so one that was overtaken is refused by the forge, and stops.
"""

import asyncio
import functools
from dataclasses import dataclass, field

from activities import work_range, worktree
from domain import errors, safety, work
from integrations.forge.port import Forge
from integrations.git import by_hand, checks, clones, mirror, snapshot, untrusted, wip


@dataclass(frozen=True)
class Kept:
    """Where the work is: on the forge as `sha`, or on this host alone for the reason `why_not`. Both are empty when
    there is no work beside what is pushed."""

    sha: str = ""
    why_not: str = ""


@dataclass(frozen=True)
class WorkInProgress:
    """Pushes the work of this host's runs."""

    forge: Forge
    mirrors: mirror.Mirrors
    redactor: safety.Redactor
    identity: clones.Identity = field(default_factory=clones.Identity)
    rules: checks.Rules = field(default_factory=checks.Rules)
    import_limits: untrusted.ObjectLimits = field(default_factory=untrusted.ObjectLimits)

    async def save(self, run: str, turn: int, *, seconds: float = 120) -> Kept:
        """Push what the run's worktree holds now. Doing it twice is safe: the same files are pushed once.

        Raises:
            LeaseLost: another host has taken the run over.
        """
        clone = clones.RunClone.of(self.mirrors.state, run)
        note = clone.read_note()
        if note is None or not note.base_branch:
            return Kept(why_not="this host has no whole clone of the run, or one that an older release made")
        try:
            async with asyncio.timeout(seconds):
                return await self._save(clone, note, run, turn)
        except errors.UnsafeWork as unsafe:
            return Kept(note.wip_sha, f"{unsafe}")
        except (errors.GitFailed, errors.ForgeError) as failure:
            return Kept(note.wip_sha, f"the work in progress of {run} could not be pushed: {failure}")
        except TimeoutError:
            return Kept(note.wip_sha, f"the work in progress of {run} was not pushed within {seconds:.0f} s")

    async def _save(self, clone: clones.RunClone, note: clones.Note, run: str, turn: int) -> Kept:
        source = self.mirrors.of(note.repo)
        head = await self._head(source, clone, note, run)
        tree = await snapshot.tree_of_files(source, clone.path, head, limits=self.rules.limits)
        state = f"{head}:{tree}"
        if state == note.wip_state:
            return Kept(note.wip_sha)
        made = await wip.commit(
            source, run=run, head=head, tree=tree, turn=turn, holder=note.holder, identity=self.identity
        )
        span = await work_range.span(source, note.base_branch, made.sha)
        accepted = by_hand.Accepted(note.accepted)
        look = functools.partial(work_range.examine, unchanged_too=True, accepted=accepted)
        found = await asyncio.to_thread(look, source, span, self.rules, self.redactor)
        if found.outcome is work.IntegrationOutcome.UNSAFE:
            return Kept(note.wip_sha, _blocked(run, found.findings))
        note = await wip.publish(source, await worktree.remote_of(self.forge, note.repo), clone, note, made)
        clone.write_note(note.model_copy(update={"wip_state": state}))
        return Kept(made.sha)

    async def _head(self, source: mirror.Mirror, clone: clones.RunClone, note: clones.Note, run: str) -> str:
        """The agent's newest commit, in the mirror and checked. Between two commits of its own it was both already when
        the last state was published: that is most checkpoints, and half of what they would cost."""
        head = await asyncio.to_thread(untrusted.head_sha, clone.path)
        if head == note.wip_state.partition(":")[0]:
            return head
        head = await source.import_commits(clone.path, run, self.import_limits)
        span = await work_range.span(source, note.base_branch, head)
        await asyncio.to_thread(work_range.check, source, span, self.rules, by_hand.Accepted(note.accepted))
        return head


def _blocked(run: str, findings: tuple[work.SafetyFinding, ...]) -> str:
    first = next(each for each in findings if each.level is work.FindingLevel.BLOCKS)
    return (
        f"the work in progress of {run} is not pushed, the safety scan blocks it ({first.rule} in "
        f"{first.path}:{first.line}): it is on this host alone until the line is gone"
    )

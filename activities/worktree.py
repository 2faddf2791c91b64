"""Prepare a run's worktree: its own clone of the mirror, found again as it was or built from what is pushed."""

import asyncio
from dataclasses import dataclass, field

from temporalio import activity

from activities import heartbeats
from domain import errors, refs, wire, work
from integrations.forge.port import Forge
from integrations.git import clones, mirror, names, runner, untrusted


async def remote_of(forge: Forge, repo: refs.Repository) -> mirror.Remote:
    """Address and fresh credentials of a repository on the forge."""
    given = await forge.push_credentials(repo)
    return mirror.Remote(forge.clone_url(repo), runner.Credentials(given.username, given.token))


@dataclass(frozen=True)
class WorktreeActivities:
    forge: Forge
    mirrors: mirror.Mirrors
    identity: clones.Identity = field(default_factory=clones.Identity)
    import_limits: untrusted.ObjectLimits = field(default_factory=untrusted.ObjectLimits)

    @activity.defn(name=wire.PREPARE_WORKTREE)
    async def prepare_worktree(self, request: work.PrepareWorktree) -> work.Worktree:
        """Make the run's clone, or find it. Running twice is safe: a whole clone of this run that still agrees with
        the pushed branch is kept with all its files, anything else is a cache and is built anew.

        Raises:
            ConfigurationError: the forge has no such base branch.
            GitFailed: git could not, for a reason that may pass.
        """
        async with heartbeats.beating():
            source = self.mirrors.of(request.repo)
            await source.fetch(await remote_of(self.forge, request.repo))
            base_tip = await source.branch(request.base_branch)
            if not base_tip:
                raise errors.ConfigurationError(
                    f"{request.repo} has no branch {request.base_branch!r} on the forge, the run is to be based on it: "
                    "correct base_branch in the repository's policy, or push a first commit"
                )
            pushed = await source.branch(request.branch)
            clone = clones.RunClone.of(self.mirrors.state, request.run)
            await asyncio.to_thread(clone.finish_renewal)
            if not request.start_fresh and (kept := await self._find(source, clone, request, base_tip, pushed)):
                return kept
            return await self._build(source, clone, request, base_tip, pushed)

    async def _find(
        self, source: mirror.Mirror, clone: clones.RunClone, request: work.PrepareWorktree, base_tip: str, pushed: str
    ) -> work.Worktree | None:
        """The clone as it is, with whatever its agent left; None when there is none to go on with."""
        note = clone.read_note()
        if note is None or note != clones.Note(repo=request.repo, branch=request.branch, remote_sha=pushed):
            return None  # another host, or a person, has moved the branch on: their work is the newer one
        try:
            head = await source.import_commits(clone.path, request.run, self.import_limits)
        except errors.UnsafeWork as damage:
            activity.logger.warning("the clone of %s is built anew: %s", request.run, damage)
            return None
        base = await source.merge_base(base_tip, head)
        return (
            work.Worktree(path=str(clone.path), base_sha=base, head_sha=head, base_tip_sha=base_tip) if base else None
        )

    async def _build(
        self, source: mirror.Mirror, clone: clones.RunClone, request: work.PrepareWorktree, base_tip: str, pushed: str
    ) -> work.Worktree:
        base = await source.merge_base(base_tip, pushed) if pushed and not request.start_fresh else ""
        # A branch that was merged, or whose base was rewritten, is no beginning.
        resumed = bool(base) and base != pushed
        start = clones.Start(request.branch, pushed if resumed else base_tip, request.base_branch, base_tip)
        note = clones.Note(repo=request.repo, branch=request.branch, remote_sha=pushed)
        await source.delete_ref(names.snapshot_ref(request.run))
        await clone.build(source, start, self.identity, note)
        return work.Worktree(
            path=str(clone.path),
            base_sha=base if resumed else base_tip,
            head_sha=start.head,
            base_tip_sha=base_tip,
            resumed_from_push=resumed,
        )

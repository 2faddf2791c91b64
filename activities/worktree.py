"""Prepare a run's worktree: its own clone of the mirror, found again as it was or built from what is pushed."""

import asyncio
import secrets
from dataclasses import dataclass, field

from temporalio import activity

from activities import heartbeats
from activities.hooks import HookRunner  # the module's name is a field below
from domain import errors, refs, wire, work
from domain.hooks import Call
from integrations.forge.port import Forge
from integrations.git import clones, mirror, names, runner, untrusted, wip


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
    hooks: HookRunner | None = None
    """Runs the repository's scripts; None: they are not run."""

    @activity.defn(name=wire.PREPARE_WORKTREE)
    async def prepare_worktree(self, request: work.PrepareWorktree) -> work.Worktree:
        """Make the run's clone, or find it. Running twice is safe: a whole clone of this run that still agrees with
        the pushed branch is kept with all its files, anything else is a cache and is built anew.

        Raises:
            ConfigurationError: the forge has no such base branch.
            GitFailed: git could not, for a reason that may pass.
            HookFailed: the repository's `after_create` failed.
        """
        async with heartbeats.beating():
            source = self.mirrors.of(request.repo)
            remote = await remote_of(self.forge, request.repo)
            await source.fetch(remote, folders=(names.wip_folder(request.run),))
            base_tip = await source.branch(request.base_branch)
            if not base_tip:
                raise errors.ConfigurationError(
                    f"{request.repo} has no branch {request.base_branch!r} on the forge, the run is to be based on it: "
                    "correct base_branch in the repository's policy, or push a first commit"
                )
            pushed = await source.branch(request.branch)
            clone = clones.RunClone.of(self.mirrors.state, request.run)
            await asyncio.to_thread(clone.finish_renewal)
            made = None if request.start_fresh else await self._find(source, clone, request, base_tip, pushed)
            made = made or await self._build(source, clone, request, base_tip, pushed)
            await self._after_create(request, made)
            return made

    async def _after_create(self, request: work.PrepareWorktree, made: work.Worktree) -> None:
        if self.hooks is not None and request.hooks.after_create:
            await self.hooks.after_create(
                Call(
                    run=request.run,
                    worktree=made.path,
                    hooks=request.hooks,
                    issue=request.issue,
                    branch=request.branch,
                    base_branch=request.base_branch,
                )
            )

    async def _find(
        self, source: mirror.Mirror, clone: clones.RunClone, request: work.PrepareWorktree, base_tip: str, pushed: str
    ) -> work.Worktree | None:
        """The clone as it is, with whatever its agent left; None when there is none to go on with."""
        note = clone.read_note()
        if note is None or (note.repo, note.branch, note.remote_sha) != (request.repo, request.branch, pushed):
            return None  # another host, or a person, has moved the branch on: their work is the newer one
        try:
            await wip.held(source, request.run, note, await source.resolve(names.wip_ref(request.run)))
            head = await source.import_commits(clone.path, request.run, self.import_limits)
        except (errors.LeaseLost, errors.UnsafeWork) as useless:
            activity.logger.warning("the clone of %s is built anew: %s", request.run, useless)
            return None
        if note.base_branch != request.base_branch:  # the clone of an older release, or the policy has changed
            note = note.model_copy(update={"base_branch": request.base_branch, "wip_state": ""})
            clone.write_note(note)
        if request.accepted:
            note = note.model_copy(update={"accepted": request.accepted})
            clone.write_note(note)
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
        head = pushed if resumed else base_tip
        left = await self._left_behind(source, request, base_tip, pushed if resumed else "")
        if left is not None:
            head = left.head
            base = await source.merge_base(base_tip, head)
        start = clones.Start(request.branch, head, request.base_branch, base_tip, files=left.sha if left else "")
        note = clones.Note(
            repo=request.repo,
            branch=request.branch,
            remote_sha=pushed,
            base_branch=request.base_branch,
            holder=secrets.token_hex(8),
            wip_sha=await source.resolve(names.wip_ref(request.run)),
            accepted=request.accepted,
        )
        await source.delete_ref(names.snapshot_ref(request.run))
        await clone.build(source, start, self.identity, note)
        await self._take(source, clone, note, request.run, start)
        return work.Worktree(
            path=str(clone.path),
            base_sha=base or base_tip,
            head_sha=start.head,
            base_tip_sha=base_tip,
            resumed_from_push=resumed or left is not None,
            resumed_from_wip=left is not None,
        )

    async def _left_behind(
        self, source: mirror.Mirror, request: work.PrepareWorktree, base_tip: str, pushed: str
    ) -> wip.Saved | None:
        """The work in progress that another host pushed, when it goes on from what is on the branch."""
        if request.start_fresh or (found := await wip.read(source, request.run)) is None:
            return None
        goes_on = await source.merge_base(pushed or base_tip, found.head)
        return found if goes_on and (not pushed or goes_on == pushed) else None

    async def _take(
        self, source: mirror.Mirror, clone: clones.RunClone, note: clones.Note, run: str, start: clones.Start
    ) -> None:
        """Make this host the one that holds the run: whoever held it before finds the ref moved. A forge that takes no
        such ref is worked with as well, without another host to go on from."""
        files = start.files or start.head
        tree = (await source.git.run("rev-parse", "--verify", f"{files}^{{tree}}", at=source.place)).text
        before = await wip.read(source, run)
        made = await wip.commit(
            source,
            run=run,
            head=start.head,
            tree=tree,
            turn=before.turn if before else 0,
            holder=note.holder,
            identity=self.identity,
        )
        try:
            note = await wip.publish(source, await remote_of(self.forge, note.repo), clone, note, made)
        except errors.LeaseLost as raced:
            raise errors.GitFailed(
                f"{run} was being taken over by this host and another one at once: the same step is tried again"
            ) from raced
        except (errors.GitFailed, errors.ForgeError) as refused:
            activity.logger.warning("the work in progress of %s will not leave this host: %s", run, refused)
        else:
            clone.write_note(note.model_copy(update={"wip_state": f"{start.head}:{tree}"}))

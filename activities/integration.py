"""Integrate what an agent left in its worktree: import, commit the rest, check every commit, push."""

import asyncio
import functools
from dataclasses import dataclass, field, replace
from typing import Final

from temporalio import activity

from activities import artifact_store, heartbeats, work_range, worktree
from domain import artifacts, errors, safety, wire, work
from integrations.forge.port import Forge
from integrations.git import by_hand, checks, clones, launch, mirror, names, snapshot, untrusted, wip

_MOST_DIFF_BYTES: Final = 16 * 1024 * 1024
_NOT_TEXT: Final = "-"
"""What `--numstat` prints for the lines of a binary file."""


@dataclass(frozen=True)
class IntegrationActivities:
    forge: Forge
    mirrors: mirror.Mirrors
    store: artifact_store.ArtifactStore
    redactor: safety.Redactor
    identity: clones.Identity = field(default_factory=clones.Identity)
    rules: checks.Rules = field(default_factory=checks.Rules)
    import_limits: untrusted.ObjectLimits = field(default_factory=untrusted.ObjectLimits)

    @activity.defn(name=wire.INTEGRATE_WORK)
    async def integrate_work(self, request: work.IntegrateWork) -> work.Integration:
        """Take the agent's work into the mirror, check it, and push it. Running twice is safe: uncommitted files give
        the same commit again, and a branch that is at our head already was pushed by the earlier attempt.

        Raises:
            UnsafeWork: a commit breaks a rule; nothing was pushed.
            RefMoved: the branch on the forge is at a commit that neither the caller nor this worktree knows.
            LeaseLost: another host has taken the run over; nothing was pushed.
            GitFailed: git could not, for a reason that may pass.
        """
        async with heartbeats.beating():
            source = self.mirrors.of(request.repo)
            clone = clones.RunClone.of(self.mirrors.state, request.run)
            await asyncio.to_thread(clone.finish_renewal)
            note = self._note(clone, request)
            imported = await source.import_commits(clone.path, request.run, self.import_limits)
            # Checked before anything unfolds these trees: a few hundred bytes can name more files than a disk holds.
            span = await work_range.span(source, request.base_branch, imported)
            rules = self.rules.with_file(request.policy_file)
            made = await source.resolve(names.snapshot_ref(request.run))
            _, accepted = await self._accepted(source, span, request, rules, made)
            await asyncio.to_thread(work_range.check, source, span, rules, accepted)
            whole = await snapshot.commit_leftovers(
                source,
                clone.path,
                imported,
                run=request.run,
                message=request.commit_message,
                identity=self.identity,
                limits=rules.limits,
            )
            span = await work_range.span(source, request.base_branch, whole.sha)
            theirs, accepted = await self._accepted(source, span, request, rules, whole.sha if whole.made else "")
            result = await asyncio.to_thread(work_range.examine, source, span, rules, self.redactor, accepted=accepted)
            result = result.model_copy(update={"auto_committed": whole.made, "accepted": theirs})
            note = note.model_copy(update={"accepted": tuple(accepted.commits)})
            if result.outcome is not work.IntegrationOutcome.PUSHED:
                clone.write_note(note)  # the agent goes on from what stands in its commits all the same
            if result.outcome is work.IntegrationOutcome.NO_CHANGES:
                return result
            result = await self._with_size(source, result)
            if result.outcome is work.IntegrationOutcome.UNSAFE:
                return result
            await self._push(source, request, note, whole.sha)
            for each in theirs:
                activity.logger.info("%s: %s", request.run, each.sentence())
            kept = {"remote_sha": whole.sha, "wip_sha": "", "wip_state": ""}
            clone.write_note(note.model_copy(update=kept))
            if whole.sha != imported:
                start = clones.Start(request.branch, whole.sha, request.base_branch, span.base_tip)
                await clone.renew_git(source, start, self.identity)
            return result.model_copy(update={"diff": await self._diff(source, request.run, result)})

    @activity.defn(name=wire.SURVEY_WORKTREE)
    async def survey_worktree(self, request: work.SurveyWorktree) -> work.HandedOver:
        """Note what the agent has left, before a person gets the worktree. Running twice is safe: it only reads, what
        it takes into the mirror is there already the second time.

        Raises:
            UnsafeWork: what is there cannot be taken into the mirror, or is more than the limits allow.
            GitFailed: git could not, for a reason that may pass.
        """
        async with heartbeats.beating():
            source = self.mirrors.of(request.repo)
            clone = clones.RunClone.of(self.mirrors.state, request.run)
            await asyncio.to_thread(clone.finish_renewal)
            head = await source.import_commits(clone.path, request.run, self.import_limits)
            span = await work_range.span(source, request.base_branch, head)
            await asyncio.to_thread(work_range.check, source, span, replace(self.rules, protected=()))
            tree = await snapshot.tree_of_files(source, clone.path, head, limits=self.rules.limits)
            return work.HandedOver(head_sha=head, tree_sha=tree)

    async def _accepted(
        self, source: mirror.Mirror, span: work_range.Span, request: work.IntegrateWork, rules: checks.Rules, made: str
    ) -> tuple[tuple[work.AcceptedCommit, ...], by_hand.Accepted]:
        """The commits of the person who hands back that change protected paths, and with those of earlier ones all
        that may. `made`: the commit that was made of uncommitted files, if one was."""
        theirs: tuple[work.AcceptedCommit, ...] = ()
        if request.person and request.handed_over is not None:
            find = functools.partial(
                work_range.persons_commits, by=request.person, since=request.handed_over, leftover=made
            )
            theirs = await asyncio.to_thread(find, source, span, rules)
        return theirs, by_hand.Accepted((*request.accepted, *theirs))

    def _note(self, clone: clones.RunClone, request: work.IntegrateWork) -> clones.Note:
        note = clone.read_note()
        if note is None or str(clone.path) != request.worktree or note.branch != request.branch:
            raise errors.GitFailed(
                f"{request.run} was to be integrated from {request.worktree}, this host has "
                f"{f'its branch {note.branch} in {clone.path}' if note else 'no whole clone of it'}: "
                "prepare the worktree again"
            )
        return note

    async def _push(self, source: mirror.Mirror, request: work.IntegrateWork, note: clones.Note, sha: str) -> None:
        """The branch may be where the caller last saw it, or where this worktree did when it was prepared: after a
        lost answer, or a start afresh over a former run's branch, only the worktree knows.

        The work in progress goes in the same step, and only as this host left it: one that another host has moved
        stops the push of a host that does not know yet that it has lost the run."""
        remote = await worktree.remote_of(self.forge, request.repo)
        branch, left = names.branch_ref(request.branch), names.wip_ref(request.run)
        there = await source.remote_refs(remote, branch, left)
        found = there.get(branch, "")
        expected = note.remote_sha if found == note.remote_sha else request.expected_remote_sha
        moves = [mirror.Move(branch, sha, expected)]
        if found != sha and (held := await wip.held(source, request.run, note, there.get(left, ""))):
            moves.append(mirror.Move(left, "", held))
        await source.move(remote, *moves)

    async def _with_size(self, source: mirror.Mirror, result: work.Integration) -> work.Integration:
        counted = await source.git.run(
            *("diff-tree", "-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv"),
            *(result.base_sha, result.head_sha),
            at=source.place,
        )
        counts = [line.split("\t")[:2] for line in counted.text.split("\0") if line.count("\t") >= 2]
        added, removed = (sum(int(count[at]) for count in counts if count[at] != _NOT_TEXT) for at in (0, 1))
        return result.model_copy(update={"added_lines": added, "removed_lines": removed})

    async def _diff(self, source: mirror.Mirror, run: str, result: work.Integration) -> artifacts.ArtifactRef:
        try:
            patch = await source.git.run(
                *("diff-tree", "-r", "-p", "-M", "--no-ext-diff", "--no-textconv", "--no-color"),
                *(result.base_sha, result.head_sha),
                at=source.place,
                most_output=_MOST_DIFF_BYTES,
            )
            data = patch.stdout
        except launch.OutputTooLarge:
            data = f"The diff has more than {_MOST_DIFF_BYTES} bytes and is not kept.\n".encode()
        summary = f"{len(result.files)} files, +{result.added_lines} -{result.removed_lines}"
        return await self.store.put(artifact_store.run_key(run, f"diff-{result.head_sha}.patch"), data, summary)

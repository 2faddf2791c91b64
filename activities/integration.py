"""Integrate what an agent left in its worktree: import, commit the rest, check every commit, push."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from temporalio import activity

from activities import artifact_store, heartbeats, worktree
from domain import artifacts, errors, safety, wire, work
from integrations.forge.port import Forge
from integrations.git import checks, clones, facts, launch, mirror, snapshot, untrusted

_MOST_DIFF_BYTES: Final = 16 * 1024 * 1024
_NOT_TEXT: Final = "-"
"""What `--numstat` prints for the lines of a binary file."""


@dataclass(frozen=True)
class _Span:
    """The work as commits: `head` without what `base_tip` has, and the newest commit they share."""

    base: str
    base_tip: str
    head: str


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
            GitFailed: git could not, for a reason that may pass.
        """
        async with heartbeats.beating():
            source = self.mirrors.of(request.repo)
            clone = clones.RunClone.of(self.mirrors.state, request.run)
            await asyncio.to_thread(clone.finish_renewal)
            note = self._note(clone, request)
            imported = await source.import_commits(clone.path, request.run, self.import_limits)
            # Checked before anything unfolds these trees: a few hundred bytes can name more files than a disk holds.
            await asyncio.to_thread(self._check, source, await self._span(source, request.base_branch, imported))
            whole = await snapshot.commit_leftovers(
                source,
                clone.path,
                imported,
                run=request.run,
                message=request.commit_message,
                identity=self.identity,
                limits=self.rules.limits,
            )
            span = await self._span(source, request.base_branch, whole.sha)
            result = await asyncio.to_thread(self._examine, source, span)
            result = result.model_copy(update={"auto_committed": whole.made})
            if result.outcome is work.IntegrationOutcome.NO_CHANGES:
                return result
            result = await self._with_size(source, result)
            if result.outcome is work.IntegrationOutcome.UNSAFE:
                return result
            await self._push(source, request, note, whole.sha)
            clone.write_note(note.model_copy(update={"remote_sha": whole.sha}))
            if whole.sha != imported:
                start = clones.Start(request.branch, whole.sha, request.base_branch, span.base_tip)
                await clone.renew_git(source, start, self.identity)
            return result.model_copy(update={"diff": await self._diff(source, request.run, result)})

    def _note(self, clone: clones.RunClone, request: work.IntegrateWork) -> clones.Note:
        note = clone.read_note()
        if note is None or str(clone.path) != request.worktree or note.branch != request.branch:
            raise errors.GitFailed(
                f"{request.run} was to be integrated from {request.worktree}, this host has "
                f"{f'its branch {note.branch} in {clone.path}' if note else 'no whole clone of it'}: "
                "prepare the worktree again"
            )
        return note

    async def _span(self, source: mirror.Mirror, base_branch: str, head: str) -> _Span:
        base_tip = await source.branch(base_branch)
        base = await source.merge_base(base_tip, head) if base_tip else ""
        if not base:
            raise checks.unrelated(head)
        return _Span(base, base_tip, head)

    def _check(self, source: mirror.Mirror, span: _Span) -> None:
        """Check every commit of the span; blocking."""
        with facts.Reader.open(source.path, self.rules.limits) as reader:
            checks.check(reader.work(base=span.base, base_tip=span.base_tip, head=span.head), self.rules)

    def _examine(self, source: mirror.Mirror, span: _Span) -> work.Integration:
        """Check every commit of the span and look for secrets in each line they add; blocking.

        Returns:
            What is known before the push: the outcome is `PUSHED` when nothing speaks against it.
        """
        with facts.Reader.open(source.path, self.rules.limits) as reader:
            result = work.Integration(
                outcome=work.IntegrationOutcome.NO_CHANGES, head_sha=span.head, base_sha=span.base
            )
            if reader.same_tree(span.base, span.head):
                return result
            commits = reader.work(base=span.base, base_tip=span.base_tip, head=span.head)
            checks.check(commits, self.rules)
            added = (text for commit in commits.commits for text in reader.added(commit))
            findings = safety.scan(added, self.redactor)
            outcome = work.IntegrationOutcome.UNSAFE if safety.blocks(findings) else work.IntegrationOutcome.PUSHED
            files = reader.changed_paths(span.base, span.head)
            return result.model_copy(update={"outcome": outcome, "files": files, "findings": findings})

    async def _push(self, source: mirror.Mirror, request: work.IntegrateWork, note: clones.Note, sha: str) -> None:
        """The branch may be where the caller last saw it, or where this worktree did when it was prepared: after a
        lost answer, or a start afresh over a former run's branch, only the worktree knows."""
        remote = await worktree.remote_of(self.forge, request.repo)
        found = await source.remote_branch(remote, request.branch)
        expected = note.remote_sha if found == note.remote_sha else request.expected_remote_sha
        await source.push(remote, branch=request.branch, sha=sha, expected=expected)

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

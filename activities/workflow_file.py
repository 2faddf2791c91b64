"""A repository's WORKFLOW.md as it is on its base branch now: the newest version, or the last one without mistakes.

It is read whenever something is decided by it, so a change counts for the next run and needs no restart. A version with
mistakes changes nothing: the last good one goes on, and the mistakes are told wherever somebody looks. While there is
no good version at all, nothing new starts.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from domain import errors, refs, skills
from domain.forge import Issue
from domain.policy import RepositoryPolicy
from domain.workflow_policy import IssueFacts, Source, Workflow, summary
from integrations.forge.port import Forge
from integrations.workflow_file import reading
from store.engine import Store
from store.workflow_files import Kept

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Current:
    """`workflow` None: there is no file, or none that can be used, and then `blocks` is set."""

    workflow: Workflow | None = None
    problem: str = ""
    """What is wrong with the newest version, in a sentence for people; empty: nothing."""
    blocks: bool = False


@dataclass(frozen=True)
class WorkflowFiles:
    """Reads the files; what it found is kept in the store. Every method raises what the forge and the store raise: a
    file that could not be read is never taken for a missing one."""

    forge: Forge
    store: Store

    async def current(self, repo: refs.Repository, policy: RepositoryPolicy, *, default_branch: str = "") -> Current:
        """The file that counts now. Asking twice is safe: what is stored is what the branch says.

        Args:
            repo: Whose file.
            policy: The operator's: it names file and branch.
            default_branch: The forge's, where the caller knows it.
        """
        if not policy.workflow_file:
            return Current()
        branch = policy.base_branch or default_branch or (await self.forge.repository(repo)).default_branch
        commit_sha = await self.forge.branch_sha(repo, branch)
        if not commit_sha:
            return Current()
        kept = await self.store.workflow_files.get(repo)
        source = Source(path=policy.workflow_file, branch=branch, commit_sha=commit_sha)
        try:
            found = await self.forge.read_file(repo, source.path, ref=commit_sha)
        except errors.InvalidRequest as unreadable:
            return await self._refused(repo, source, str(unreadable), kept)
        if found is None:
            if kept is not None:
                await self.store.workflow_files.forget(repo)
            return Current()
        return await self._judged(repo, source.model_copy(update={"blob_sha": found.blob_sha}), found.text, kept)

    async def why_not(self, issue: Issue) -> str:
        """Why no run may start for this issue now, as the rest of a sentence; empty when one may. An issue of a
        repository that is not registered is let through: its run says so."""
        record = await self.store.repositories.get(issue.ref.repo)
        if record is None:
            return ""
        return await self.mismatch(await self.current(issue.ref.repo, record.policy), issue)

    async def mismatch(self, current: Current, issue: Issue) -> str:
        """The same, for a file that was read already."""
        if current.blocks:
            return current.problem
        if current.workflow is None:
            return ""
        tracker = current.workflow.tracker
        return tracker.why_not(issue, await self.forge.whoami() if tracker.assignee == "@me" else "")

    async def _judged(self, repo: refs.Repository, source: Source, text: str, kept: Kept | None) -> Current:
        parsed = reading.parse(text, source)
        if mistakes := parsed.mistakes:
            return await self._refused(repo, source, summary(mistakes), kept)
        if kept is None or kept.problem or kept.text != text or _place(kept.source) != _place(source):
            await self.store.workflow_files.keep(repo, source, text, read_at=datetime.now(UTC))
        return Current(parsed.workflow)

    async def _refused(self, repo: refs.Repository, source: Source, why: str, kept: Kept | None) -> Current:
        problem = f"{source} of {repo} is not used, {why}: correct it there (fettle repo check shows every mistake)"
        if kept is None or kept.problem != problem:
            await self.store.workflow_files.refuse(repo, source, problem, read_at=datetime.now(UTC))
            _log.warning("workflow_file.refused", repo=str(repo), source=str(source), problem=why)
        good = _last_good(kept, source)
        if good is None:
            return Current(problem=problem, blocks=True)
        return Current(good.model_copy(update={"problem": problem}), problem)


def with_issue(workflow: Workflow | None, issue: Issue) -> Workflow:
    """The snapshot of a run: the file, and what was true of the issue when the run started."""
    workflow = workflow or Workflow(source=Source(path=""))
    facts = IssueFacts(
        state=workflow.tracker.state_of(issue.labels, is_open=issue.open),
        assignees=issue.assignees,
        created_at=issue.created_at,
        updated_at=issue.updated_at,
        skills=skills.parse(issue.body).names,
    )
    return workflow.model_copy(update={"issue": facts})


def _last_good(kept: Kept | None, source: Source) -> Workflow | None:
    """The stored version, unless it is another file's, or this build finds mistakes in it that the one that stored it
    did not."""
    if kept is None or kept.text is None or (kept.source.path, kept.source.branch) != (source.path, source.branch):
        return None
    parsed = reading.parse(kept.text, kept.source)
    return None if parsed.mistakes else parsed.workflow


def _place(source: Source) -> tuple[str, str, str]:
    return source.path, source.branch, source.blob_sha

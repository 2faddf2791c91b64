"""Open a run: read the issue, its author's right to ask, and the policy that the run keeps."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio import activity

from activities import workflow_file
from domain import errors, forge, refs, tasks, wire
from domain.brief import BODY_LIMIT, TITLE_LIMIT, bounded
from domain.policy import ApprovalMode, RepositoryPolicy, effective, mode_of_run
from integrations.forge.port import Forge
from store.engine import Store

LEARNINGS_IN_PROMPT = 10


@dataclass(frozen=True)
class Defaults:
    """What the installation gives every run where the repository's policy is silent."""

    backend: str
    model: str = ""
    judge: str = "none"
    ci_poll_seconds: float = 180
    gate_poll_seconds: float = 3600


@dataclass(frozen=True)
class OpeningActivities:
    forge: Forge
    store: Store
    fleet_mode: Callable[[], Awaitable[ApprovalMode]]
    defaults: Defaults

    @activity.defn(name=wire.OPEN_RUN)
    async def open_run(self, request: tasks.OpenRun) -> tasks.Opened:
        """Read everything a run starts from; again before later turns, for whether it is still wanted. Running twice is
        safe: it only reads, and keeps the last good WORKFLOW.md.

        Raises:
            errors.NotFound: the issue is gone, or we may not see it.
        """
        issue = await self.forge.issue(request.issue)
        record = await self.store.repositories.get(request.issue.repo)
        if record is None or not record.enabled:
            return tasks.Opened(refusal=not_registered(request.issue.repo))
        facts = await self.forge.repository(request.issue.repo)
        files = workflow_file.WorkflowFiles(self.forge, self.store)
        current = await files.current(request.issue.repo, record.policy, default_branch=facts.default_branch)
        policy = effective(record.policy, workflow_file.with_issue(current.workflow, issue))
        gone = "the issue is closed" if not issue.open else ""
        if not gone and not current.blocks:
            gone = await files.mismatch(current, issue)
        learnings = await self.store.learnings.latest(request.issue.repo, LEARNINGS_IN_PROMPT)
        return tasks.Opened(
            refusal=await refusal(self.forge, issue, policy) or (current.problem if current.blocks else ""),
            gone=gone,
            title=bounded(issue.title, TITLE_LIMIT),
            body=bounded(issue.body, BODY_LIMIT),
            author=issue.author,
            url=issue.html_url,
            labels=issue.labels,
            policy=policy,
            mode=mode_of_run(policy, policy.approval_mode or await self.fleet_mode()),
            judge=self.defaults.judge,
            backend=policy.agent or self.defaults.backend,
            base_branch=policy.base_branch or facts.default_branch,
            learnings=tuple(f"{'+' if item.kind == 'success' else '!'} {item.text}" for item in learnings),
            ci_poll_seconds=self.defaults.ci_poll_seconds,
            gate_poll_seconds=self.defaults.gate_poll_seconds,
        )


def not_registered(repo: refs.Repository) -> str:
    return f"{repo} is not registered with this Fettle: run 'fettle repo add {repo}', then label the issue again"


async def refusal(forge_port: Forge, issue: forge.Issue, policy: RepositoryPolicy) -> str:
    """Why this author's issue may not become work; empty when it may. The allowlist decides where there is one,
    the right to write to the repository elsewhere."""
    if policy.allowed_authors:
        if issue.author in policy.allowed_authors:
            return ""
        return (
            f"@{issue.author} is not on the list of authors whose issues become runs in {issue.ref.repo}: a maintainer "
            "can add the login (fettle repo set --author) or file the issue, then set the label again"
        )
    try:
        permission = await forge_port.permission(issue.ref.repo, issue.author)
    except errors.NotFound:
        permission = forge.Permission.NONE
    if permission.can_write:
        return ""
    return (
        f"@{issue.author} has {permission} permission on {issue.ref.repo}, and write is needed for an issue to become "
        "a run: a maintainer can list the login (fettle repo set --author) or file the issue, then set the label again"
    )

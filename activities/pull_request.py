"""The pull request of a run: open it as a draft, look at heads that others push, mark it ready."""

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from activities.claiming import STATUS_KEY
from domain import diffs, errors, run, safety, tasks, wire
from domain.redaction import Redactor
from integrations.forge.port import Forge


@dataclass(frozen=True)
class PullRequestActivities:
    forge: Forge
    redactor: Redactor

    @activity.defn(name=wire.PUBLISH_PULL_REQUEST)
    async def publish_pull_request(self, request: tasks.Publish) -> tasks.Published:
        """Open the draft pull request, or bring it up to date. Running twice is safe: it is looked up by its branch.

        Raises:
            errors.NotFound: the branch is gone.
        """
        found = await self.forge.branch_sha(request.issue.repo, request.branch)
        if found is None:
            raise errors.NotFound(
                f"{request.branch} of {request.issue.repo} was pushed at {request.head_sha}, it is gone now: push it "
                "again, then release the run"
            )
        pull = await self.forge.open_pull_request(
            request.issue.repo,
            head_branch=request.branch,
            base_branch=request.base_branch,
            title=self.redactor.redact(request.title),
            body=self.redactor.redact(request.body),
            draft=True,
        )
        status = request.status.replace("{pull}", f"#{pull.ref.number}")
        await self.forge.say(request.issue, key=STATUS_KEY, body=self.redactor.redact(status))
        return tasks.Published(
            head_sha=found,
            pull=run.PullRequest(number=pull.ref.number, url=pull.html_url, node_id=pull.node_id, ready=not pull.draft),
            base_sha=pull.base_sha,
            at=datetime.now(UTC),
        )

    @activity.defn(name=wire.INSPECT_HEAD)
    async def inspect_head(self, request: tasks.InspectHead) -> tasks.Inspection:
        """Read and scan what a head adds to its base. Running twice is safe: it only reads."""
        head = (await self.forge.pull_request(request.pull)).head_sha
        comparison = await self.forge.compare(request.repo, request.base_branch, head)
        diff = await self.forge.diff(request.repo, request.base_branch, head)
        added, removed = diffs.counts(diff)
        return tasks.Inspection(
            head_sha=head,
            base_sha=comparison.merge_base_sha,
            files=comparison.files,
            added_lines=added,
            removed_lines=removed,
            findings=safety.scan(diffs.added_texts(diff, commit=head), self.redactor),
        )

    @activity.defn(name=wire.MARK_READY)
    async def mark_ready(self, request: tasks.MarkReady) -> tasks.Nothing:
        """Take the draft flag off. Running twice is safe: a pull request that is ready is left alone."""
        pull = await self.forge.pull_request(request.pull)
        if pull.draft and pull.open:
            await self.forge.mark_ready(pull)
        return tasks.Nothing()

    @activity.defn(name=wire.WATCH_GATE)
    async def watch_gate(self, request: tasks.WatchGate) -> tasks.GateFacts:
        """Answer once the head, the pull request or the issue is not what the gate was shown. Running twice is safe:
        it only reads.

        Raises:
            errors.NothingNew: all is as it was.
        """
        pull = await self.forge.pull_request(request.pull)
        issue = await self.forge.issue(request.issue)
        if pull.open and issue.open and pull.head_sha == request.head_sha:
            raise errors.NothingNew(f"{request.pull} is still open at {request.head_sha[:9]}")
        return tasks.GateFacts(issue_open=issue.open, pull_open=pull.open, merged=pull.merged, head_sha=pull.head_sha)

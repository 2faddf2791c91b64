"""The end of a run on the forge: labels, the last word in the status comment, the issue, the pull request, a lesson."""

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from activities.claiming import LABELS, STATUS_KEY
from domain import forge as facts
from domain import tasks, wire
from domain.redaction import Redactor
from domain.run import Phase
from integrations.forge.port import Forge
from store import learnings
from store.engine import Store

_LABEL = {
    Phase.DONE: wire.LABEL_DONE,
    Phase.FAILED: wire.LABEL_FAILED,
    Phase.CANCELLED: wire.LABEL_CANCELLED,
    Phase.REJECTED: wire.LABEL_REJECTED,
}


@dataclass(frozen=True)
class ClosingActivities:
    forge: Forge
    store: Store
    redactor: Redactor

    @activity.defn(name=wire.CLOSE_RUN)
    async def close_run(self, request: tasks.CloseRun) -> tasks.Nothing:
        """Write the run's end where people look. Running twice is safe: each effect is read before it is made, the
        comment is found by its key, a lesson by its run and text.

        A merged run's branch goes; every other branch stays, so that no work is lost and a retry can continue it.
        """
        ending = request.ending
        for kind, text in request.learnings:
            lesson = learnings.Learning(
                repo=request.issue.repo,
                kind=learnings.Kind(kind),
                run=request.run,
                text=self.redactor.redact(text),
                created_at=datetime.now(UTC),
            )
            await self.store.learnings.record(lesson)
        await self.forge.ensure_labels(request.issue.repo, LABELS)
        label = _LABEL[ending.phase]
        others = [name for name in wire.TERMINAL_LABELS if name != label]
        await self.forge.swap_labels(
            request.issue, add=[label], remove=[wire.LABEL_IN_PROGRESS, wire.LABEL_TRIGGER, *others]
        )
        await self.forge.say(request.issue, key=STATUS_KEY, body=self.redactor.redact(request.status))
        if ending.phase is Phase.DONE:
            await self.forge.close_issue(request.issue, completed=True)
            if request.branch:
                await self.forge.delete_branch(request.issue.repo, request.branch)
        elif ending.phase in {Phase.CANCELLED, Phase.REJECTED}:
            pull = await self._pull(request)
            if pull is not None and pull.open:
                await self.forge.close_pull_request(pull.ref)
        return tasks.Nothing()

    async def _pull(self, request: tasks.CloseRun) -> facts.PullRequest | None:
        """A run that was cancelled while it opened its pull request never learned the number."""
        if request.pull is not None:
            return await self.forge.pull_request(request.pull)
        if not request.branch:
            return None
        return await self.forge.find_pull_request(request.issue.repo, head_branch=request.branch)

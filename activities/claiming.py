"""Claim an issue: take the trigger label, say so once, and wait for the issues it depends on."""

from collections.abc import Sequence
from dataclasses import dataclass

from temporalio import activity

from domain import errors, tasks, triage, wire
from domain.redaction import Redactor
from integrations.forge.port import Forge, Label

LABELS: Sequence[Label] = (
    Label(wire.LABEL_TRIGGER, "5319E7", "Fettle takes this issue to a merged change"),
    Label(wire.LABEL_IN_PROGRESS, "FBCA04", "A Fettle run works on this issue"),
    Label(wire.LABEL_DONE, "0075CA", "Fettle merged a change for this issue"),
    Label(wire.LABEL_FAILED, "D93F0B", "Fettle gave up; its comment says why"),
    Label(wire.LABEL_CANCELLED, "CCCCCC", "The run was cancelled"),
    Label(wire.LABEL_REJECTED, "B60205", "A person or the policy refused the run"),
)
STATUS_KEY = "status"
"""Key of the one comment a run keeps on its issue: it is edited, never repeated."""

MOST_DEPENDENCIES = 50
"""How many issues are followed to find a circle; a longer one is not found, and `fettle explain` shows the wait."""

_LOST = (wire.LABEL_FAILED, wire.LABEL_CANCELLED, wire.LABEL_REJECTED)


@dataclass(frozen=True)
class ClaimingActivities:
    forge: Forge
    redactor: Redactor

    @activity.defn(name=wire.CLAIM_ISSUE)
    async def claim_issue(self, request: tasks.ClaimIssue) -> tasks.Nothing:
        """Swap the labels, assign ourselves, post the status comment. Running twice is safe: labels are read before
        they are set, and the comment is found by its key."""
        await self.forge.ensure_labels(request.issue.repo, LABELS)
        await self.forge.swap_labels(
            request.issue, add=[wire.LABEL_IN_PROGRESS], remove=[wire.LABEL_TRIGGER, *wire.TERMINAL_LABELS]
        )
        await self.forge.assign(request.issue, await self.forge.whoami())
        await self.forge.say(request.issue, key=STATUS_KEY, body=self.redactor.redact(request.body))
        return tasks.Nothing()

    @activity.defn(name=wire.WATCH_DEPENDENCIES)
    async def watch_dependencies(self, request: tasks.WatchDependencies) -> tasks.Dependencies:
        """Answer once every dependency is closed, or once one is lost. Running twice is safe: it only reads.

        Raises:
            errors.NothingNew: some are still open.
        """
        still_open = []
        for number in request.numbers:
            try:
                issue = await self.forge.issue(request.repo.issue(number))
            except errors.NotFound:
                return tasks.Dependencies(failed=f"it depends on {request.repo}#{number}, which does not exist")
            lost = next((label for label in _LOST if label in issue.labels), "")
            if lost and wire.LABEL_IN_PROGRESS not in issue.labels:
                return tasks.Dependencies(failed=f"it depends on {issue.ref}, which is labelled {lost}")
            if issue.open:
                still_open.append(str(issue.ref))
        if request.waiting and (circle := await self._circle(request)):
            return tasks.Dependencies(failed=f"it waits for itself: {circle}; take one of these dependencies out")
        if still_open:
            raise errors.NothingNew(f"still open: {', '.join(still_open)}")
        return tasks.Dependencies()

    async def _circle(self, request: tasks.WatchDependencies) -> str:
        """The way from the waiting issue's dependencies back to it, empty when there is none among open issues."""
        ways: list[tuple[int, ...]] = [(number,) for number in request.numbers]
        seen = set(request.numbers)
        while ways and len(seen) <= MOST_DEPENDENCIES:
            way = ways.pop(0)
            issue = await self.forge.issue(request.repo.issue(way[-1]))
            if not issue.open:
                continue
            for number in triage.by_rules(issue.ref, issue.body, issue.labels).depends_on:
                if number == request.waiting:
                    return " → ".join(f"#{n}" for n in (request.waiting, *way, request.waiting))
                if number not in seen:
                    seen.add(number)
                    ways.append((*way, number))
        return ""

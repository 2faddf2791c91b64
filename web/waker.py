"""From an event of the forge to the run it concerns: start it, tell it to look again, or let its poll look at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio import client, service
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflowservice.v1 import ResetActivityRequest

from activities import starting
from domain import errors, events, forge, refs, run, triage, wire
from store.repositories import Repositories

_WAKES_POLL = frozenset(
    {
        events.Kind.CI_CHANGED,
        events.Kind.HEAD_MOVED,
        events.Kind.PULL_CLOSED,
        events.Kind.PULL_MERGED,
        events.Kind.PULL_REOPENED,
        events.Kind.REVIEW_CHANGED,
    }
)


_LOOKS = 40
_LOOK_EVERY_SECONDS = 0.1


class Busy(Exception):
    """The poll was in the middle of an attempt all the time: the event is handed over again."""


@dataclass(frozen=True)
class Waker:
    """Implements `web.dispatch.RunWaker`. An event is a hint: whatever is woken reads the forge before it acts.

    `read_issue` asks the forge what is true of an issue now, `why_not` what the repository's WORKFLOW.md says of it.
    """

    temporal: client.Client
    repositories: Repositories
    read_issue: Callable[[refs.Issue], Awaitable[forge.Issue]]
    why_not: Callable[[forge.Issue], Awaitable[str]] | None = None

    async def wake(self, event: events.ForgeEvent) -> None:
        """Raises Busy, or Temporal's own errors, when the event has to be handed over again."""
        if event.kind is events.Kind.WORK_REQUESTED:
            await self._start(event)
        elif event.kind is events.Kind.WORK_WITHDRAWN:
            await self._look_again(event)
        if event.kind in _WAKES_POLL:
            for workflow_id in _concerned(event):
                await self._poll_now(workflow_id)

    async def _start(self, event: events.ForgeEvent) -> None:
        if event.issue is None or not triage.may_start(event.labels, is_open=True):
            return
        if await self.repositories.get(event.repo) is None:
            return
        issue = event.repo.issue(event.issue)
        if await self._is_wanted(issue):
            await starting.start_issue_run(self.temporal, issue, asked_by="webhook", title=event.title)

    async def _is_wanted(self, ref: refs.Issue) -> bool:
        """The event may be hours old: a run that was cancelled since is started again by a label, not by a delay."""
        try:
            issue = await self.read_issue(ref)
        except errors.NotFound:  # our access is gone, most likely: the run's first step says so to a person
            return True
        if not triage.may_start(issue.labels, is_open=issue.open):
            return False
        return self.why_not is None or not await self.why_not(issue)

    async def _look_again(self, event: events.ForgeEvent) -> None:
        if event.issue is None or event.labels:  # labels come and go by our own hand; a closed issue carries none here
            return
        handle = self.temporal.get_workflow_handle(event.repo.issue(event.issue).workflow_id)
        try:
            phase = (await handle.describe()).typed_search_attributes.get(starting.PHASE)
            if phase != run.Phase.MERGING.value:  # a cleared merge cannot be taken back, and closes the issue itself
                await handle.signal(wire.ISSUE_CHANGED)
        except service.RPCError as error:
            if error.status is not service.RPCStatusCode.NOT_FOUND:
                raise

    async def _poll_now(self, workflow_id: str) -> None:
        """Reset the slow polls that wait for their next attempt: they run at once, and the history grows by nothing.

        An attempt that is running may have read the forge before this event's change, so it is waited for.

        Raises:
            Busy: it did not end in time.
        """
        for _ in range(_LOOKS):
            try:
                if await self._reset_polls(workflow_id):
                    return
            except service.RPCError as error:
                if error.status is service.RPCStatusCode.NOT_FOUND:  # over, or the poll ended between look and reset
                    return
                raise
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        raise Busy(f"the poll of {workflow_id} is still running")

    async def _reset_polls(self, workflow_id: str) -> bool:
        """False when a poll is in the middle of an attempt."""
        described = await self.temporal.get_workflow_handle(workflow_id).describe()
        polls = [p for p in described.raw_description.pending_activities if p.activity_type.name in wire.WATCHES]
        if any(p.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED for p in polls):
            return False
        for pending in polls:
            await self.temporal.workflow_service.reset_activity(
                ResetActivityRequest(
                    namespace=self.temporal.namespace,
                    execution=WorkflowExecution(workflow_id=workflow_id),
                    id=pending.activity_id,
                )
            )
        return True


def _concerned(event: events.ForgeEvent) -> list[str]:
    """Workflow ids whose polls look at this event's branch: the run of a work branch, the queue of a candidate."""
    issue = refs.issue_of_branch(event.repo, event.branch)
    if issue is not None:
        return [issue.workflow_id]
    base = refs.base_of_queue_branch(event.branch)
    return [refs.merge_queue_workflow_id(event.repo, base)] if base else []

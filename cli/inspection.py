"""Everything that can be known of one run from outside: its snapshot, its child, the server's view, its neighbours."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowQueryFailedError
from temporalio.service import RPCError

from cli import runs
from domain import explain, fleet, implement, merge_queue, refs, steps, surroundings, wire
from domain.run import State

_Model = TypeVar("_Model", bound=BaseModel)
_FAILURE_LENGTH: Final = 300


class Seen(BaseModel):
    """One run from all sides. `state` None: no worker answered, and `trouble` says so."""

    issue: refs.Issue
    run_id: str
    status: str
    started_at: datetime
    closed_at: datetime | None
    state: State | None = None
    around: surroundings.Surroundings = surroundings.Surroundings()
    trouble: str = ""

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    def explanation(self, now: datetime) -> explain.Explanation | None:
        return explain.explain(self.state, now, self.around) if self.state else None


async def look(client: Client, issue: refs.Issue) -> Seen:
    """Read the newest run of `issue`, open or ended.

    Raises:
        runs.NoSuchRun: see there.
    """
    described = await runs.describe(client, issue)
    seen = Seen(
        issue=issue,
        run_id=described.run_id,
        status=(described.status or WorkflowExecutionStatus.RUNNING).name.lower(),
        started_at=described.start_time,
        closed_at=described.close_time,
    )
    try:
        seen.state = await runs.query(client, issue, described.run_id)
    except runs.NotAnswered as silent:
        seen.trouble = str(silent)
    seen.around = await _surroundings(client, seen, described)
    return seen


async def _surroundings(
    client: Client, seen: Seen, described: WorkflowExecutionDescription
) -> surroundings.Surroundings:
    raw = described.raw_description
    pending = [_pending(p) for p in raw.pending_activities]
    child = raw.pending_children[0].workflow_id if raw.pending_children else ""
    state, due = seen.state, steps.next_step(seen.state) if seen.state else None
    queue = ""
    if state is not None and due is steps.Step.MERGE and state.base_branch:
        queue = refs.merge_queue_workflow_id(seen.issue.repo, state.base_branch)
    repository = refs.repository_workflow_id(seen.issue.repo) if due is steps.Step.ADMIT else ""
    implementation, of_child, admission, merging = await asyncio.gather(
        _snapshot(client, child, implement.State),
        _pending_of(client, child),
        _snapshot(client, repository, fleet.RepositoryState),
        _snapshot(client, queue, merge_queue.State),
    )
    return surroundings.Surroundings(
        pending=(*pending, *of_child), implementation=implementation, repository=admission, queue=merging
    )


async def _snapshot(client: Client, workflow_id: str, model: type[_Model]) -> _Model | None:
    """A neighbour's state, None when it is not there or does not answer: it only adds to the picture."""
    if not workflow_id:
        return None
    try:
        found = await client.get_workflow_handle(workflow_id).query(
            wire.SNAPSHOT, result_type=model, rpc_timeout=runs.QUERY_TIMEOUT
        )
    except (RPCError, WorkflowQueryFailedError):
        return None
    return found if isinstance(found, model) else None


async def _pending_of(client: Client, workflow_id: str) -> list[surroundings.PendingCall]:
    if not workflow_id:
        return []
    try:
        described = await client.get_workflow_handle(workflow_id).describe(rpc_timeout=runs.QUERY_TIMEOUT)
    except RPCError:
        return []
    return [_pending(p) for p in described.raw_description.pending_activities]


def _pending(call: Any) -> surroundings.PendingCall:
    scheduled = call.next_attempt_schedule_time.ToDatetime(tzinfo=UTC) if call.attempt > 1 else None
    started = call.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return surroundings.PendingCall(
        activity=call.activity_type.name,
        attempt=max(1, call.attempt),
        failure_type=call.last_failure.application_failure_info.type,
        last_failure=call.last_failure.message[:_FAILURE_LENGTH],
        next_attempt_at=None if started or scheduled is None or scheduled.year < 2000 else scheduled,
        started=started,
    )

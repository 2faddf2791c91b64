"""One issue's run as people, webhooks and operators see it, from outside."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio import client, exceptions, service
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionUpdateRequest,
    ResetActivityRequest,
    UpdateActivityOptionsRequest,
)

from domain import fleet, implement, refs, run, wire
from tests.workflows.world import World

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], true: Callable[[T], object] = bool, seconds: float = 20) -> T:
    """For what nothing announces (a snapshot, a history, Visibility): look until it is so."""
    async with asyncio.timeout(seconds):
        while not true(found := await look()):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
    return found


async def attempted_now(
    temporal: client.Client, workflow_id: str, concerns: Callable[[str], bool] = lambda name: True
) -> None:
    """The workflow's activities that wait for their next attempt make it now. A reset is lost on an attempt that is
    under way, and that one may have looked too early: it is waited for."""
    handle = temporal.get_workflow_handle(workflow_id)

    async def reset() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        found = [each for each in pending if concerns(each.activity_type.name)]
        if any(each.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED for each in found):
            return False
        for each in found:
            execution = WorkflowExecution(workflow_id=workflow_id)
            request = ResetActivityRequest(namespace=temporal.namespace, execution=execution, id=each.activity_id)
            try:
                await temporal.workflow_service.reset_activity(request)
            except service.RPCError as error:  # it has just come to its end by itself
                if error.status is not service.RPCStatusCode.NOT_FOUND:
                    raise
        return True

    await eventually(reset)


@dataclass
class Run:
    """One issue's run as people and other processes see it."""

    temporal: client.Client
    world: World
    issue: refs.Issue

    @property
    def handle(self) -> client.WorkflowHandle[Any, run.State]:
        return self.temporal.get_workflow_handle(self.issue.workflow_id, result_type=run.State)

    @property
    def child(self) -> client.WorkflowHandle[Any, implement.Result]:
        return self.temporal.get_workflow_handle(f"{self.issue.workflow_id}/implement", result_type=implement.Result)

    async def state(self) -> run.State:
        return await self.handle.query(wire.SNAPSHOT, result_type=run.State)

    async def update(self, name: str, message: Any, update_id: str | None = None) -> run.State:
        state: run.State = await self.handle.execute_update(name, message, id=update_id, result_type=run.State)
        return state

    async def admitted_update(self, name: str, message: Any, result: type[T]) -> "asyncio.Task[T]":
        """Send an update that the server keeps for a worker to come, and wait until it is kept."""
        own = str(uuid.uuid4())
        asked = asyncio.create_task(self.handle.execute_update(name, message, id=own, result_type=result))
        ref = UpdateRef(workflow_execution=WorkflowExecution(workflow_id=self.handle.id), update_id=own)
        poll = PollWorkflowExecutionUpdateRequest(namespace=self.temporal.namespace, update_ref=ref)

        async def known() -> bool:
            try:
                await self.temporal.workflow_service.poll_workflow_execution_update(poll)
            except service.RPCError as error:
                if error.status is not service.RPCStatusCode.NOT_FOUND:
                    raise
                return False
            return True

        await eventually(known)
        return asked

    async def approve(self, head_sha: str = "", *, by: str = "ann", update_id: str | None = None) -> run.State:
        decision = run.Decision(by=by, head_sha=head_sha)
        return await self.update(wire.DECIDE, decision, update_id)

    async def hold(self, note: str = "") -> run.State:
        return await self.update(wire.HOLD, run.HoldRequest(by="ann", note=note))

    async def release(self) -> run.State:
        return await self.update(wire.RELEASE, run.HoldRequest(by="ann"))

    async def ended(self) -> run.State:
        return await self.handle.result()

    async def until(self, true: Callable[[run.State], object]) -> run.State:
        return await eventually(self.state, true)

    async def quiet(self, workflow_id: str = "") -> None:
        """Nothing of this workflow is under way or due: it waits for a message or for a timer."""
        handle = self.temporal.get_workflow_handle(workflow_id or self.issue.workflow_id)

        async def busy() -> bool:
            described = (await handle.describe()).raw_description
            return bool(described.pending_activities) or described.HasField("pending_workflow_task")

        await eventually(busy, lambda found: not found)

    async def child_is_held(self) -> None:
        """The round was told of the hold."""
        await eventually(lambda: self.child.query(wire.SNAPSHOT, result_type=implement.State), lambda s: s.held)

    async def cancelled(self) -> run.State:
        """The state of a run that ended as cancelled."""
        with pytest.raises(client.WorkflowFailureError) as failed:
            await self.handle.result()
        assert isinstance(failed.value.cause, exceptions.CancelledError)
        return await self.state()

    async def place(self) -> fleet.RepositoryState:
        entity = self.temporal.get_workflow_handle(refs.repository_workflow_id(self.issue.repo))
        state: fleet.RepositoryState = await entity.query(wire.SNAPSHOT, result_type=fleet.RepositoryState)
        return state

    async def place_is_free(self) -> None:
        own = self.issue.workflow_id
        await eventually(self.place, lambda s: own not in {*s.running, *(w.run for w in s.waiting)})

    async def at_gate(self) -> str:
        """The head that waits for approval."""
        state = await self.until(lambda s: s.hold is not None and s.hold.kind is run.HoldKind.MERGE_APPROVAL)
        assert state.change is not None
        return state.change.head_sha

    async def poll_now(self, *, workflow_id: str = "") -> None:
        """What a webhook does: the slow polls look at once."""
        await attempted_now(self.temporal, workflow_id or self.issue.workflow_id, wire.WATCHES.__contains__)

    async def expire(self, activity_name: str, after: timedelta, *, workflow_id: str = "") -> None:
        """Let a call of the round (or of another workflow) that nobody takes up time out soon: an operator's verb, by
        the server's own clock."""
        caller = self.temporal.get_workflow_handle(workflow_id or self.child.id)

        async def untaken() -> list[str]:
            pending = (await caller.describe()).raw_description.pending_activities
            return [p.activity_id for p in pending if p.activity_type.name == activity_name]

        found = await eventually(untaken)
        options = ActivityOptions()
        options.schedule_to_start_timeout.FromTimedelta(after)
        await self.temporal.workflow_service.update_activity_options(
            UpdateActivityOptionsRequest(
                namespace=self.temporal.namespace,
                execution=WorkflowExecution(workflow_id=caller.id),
                id=found[0],
                activity_options=options,
                update_mask=FieldMask(paths=["schedule_to_start_timeout"]),
            )
        )

    async def events(self, kind: str = "", *, child: bool = False) -> list[Any]:
        """Events of the history, all or of one kind such as `TIMER_STARTED`."""
        history = await (self.child if child else self.handle).fetch_history()
        names = [e for e in history.events if not kind or EventType.Name(e.event_type) == f"EVENT_TYPE_{kind}"]
        return list(names)

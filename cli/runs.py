"""One run: read it, send it a person's word, and say in words when either is not possible."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any, Final

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from cli import failures
from domain import implement, refs, wire
from domain.run import State

QUERY_TIMEOUT: Final = timedelta(seconds=5)
_UPDATE: Final = timedelta(seconds=20)
"""A worker validates and records an update within milliseconds; this covers one that is just being replaced."""


class NotAnswered(failures.Unreachable):
    """The server is there, no worker answered for the run."""


class NoSuchRun(failures.Failed):
    """No run of this issue was ever started, or the server has forgotten it."""


async def query(
    client: Client, issue: refs.Issue, run_id: str | None = None, *, timeout: timedelta | None = None
) -> State:
    """The run's own snapshot, open or ended.

    Raises:
        NoSuchRun, NotAnswered: see there.
    """
    handle = client.get_workflow_handle(issue.workflow_id, run_id=run_id)
    try:
        state: State = await handle.query(wire.SNAPSHOT, result_type=State, rpc_timeout=timeout or QUERY_TIMEOUT)
    except WorkflowQueryFailedError as failed:
        raise NotAnswered(f"{issue} did not answer ({failed}): see fettle worker list") from failed
    except RPCError as failed:
        raise _translated(failed, issue) from failed
    return state


async def query_round(client: Client, issue: refs.Issue) -> implement.State | None:
    """The snapshot of the run's newest round; None where it has none, or no worker answers."""
    handle = client.get_workflow_handle(refs.round_id(issue.workflow_id))
    try:
        state: implement.State = await handle.query(
            wire.SNAPSHOT, result_type=implement.State, rpc_timeout=QUERY_TIMEOUT
        )
    except (RPCError, WorkflowQueryFailedError):
        return None
    return state


async def describe(client: Client, issue: refs.Issue) -> WorkflowExecutionDescription:
    """What the server knows of the newest run of `issue`.

    Raises:
        NoSuchRun: see there.
    """
    try:
        return await client.get_workflow_handle(issue.workflow_id).describe(rpc_timeout=QUERY_TIMEOUT)
    except RPCError as failed:
        raise _translated(failed, issue) from failed


async def update(client: Client, issue: refs.Issue, name: str, argument: Any, *, key: str = "") -> State:
    """Send one update and return the state that it left.

    Args:
        client: the connection.
        issue: names the run.
        name: the update's wire name.
        argument: its one model.
        key: sending the same key twice counts once; empty makes a new one.

    Raises:
        NoSuchRun, NotAnswered: see there.
        failures.Failed: the run has ended.
        temporalio.client.WorkflowUpdateFailedError: the run refused; its cause holds the sentence.
    """
    try:
        state: State = await client.get_workflow_handle(issue.workflow_id).execute_update(
            name, argument, id=key or f"{name}:{uuid.uuid4()}", result_type=State, rpc_timeout=_UPDATE
        )
    except RPCError as failed:
        if failed.status is RPCStatusCode.NOT_FOUND:
            raise await _ended(client, issue) from failed
        raise _translated(failed, issue) from failed
    return state


async def cancel(client: Client, issue: refs.Issue, reason: str) -> None:
    """Ask the run to end; it cleans up first.

    Raises:
        NoSuchRun: see there.
        failures.Failed: it has ended already.
    """
    # The server accepts the cancellation of a run that has ended, and does nothing.
    found = await describe(client, issue)
    if found.status is not WorkflowExecutionStatus.RUNNING:
        raise _has_ended(issue, found)
    await client.get_workflow_handle(issue.workflow_id, run_id=found.run_id).cancel(
        reason=reason, rpc_timeout=QUERY_TIMEOUT
    )


async def wait_closed(client: Client, issue: refs.Issue, seconds: float) -> WorkflowExecutionDescription | None:
    """The description of the closed run, None when it is still open after `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        found = await describe(client, issue)
        if found.status is not WorkflowExecutionStatus.RUNNING:
            return found
        if loop.time() >= deadline:
            return None
        await asyncio.sleep(0.2)


async def _ended(client: Client, issue: refs.Issue) -> failures.Failed:
    found = await describe(client, issue)
    if found.status is WorkflowExecutionStatus.RUNNING:
        return NotAnswered(f"{issue} changed while it was asked: repeat the command")
    return _has_ended(issue, found)


def _has_ended(issue: refs.Issue, found: WorkflowExecutionDescription) -> failures.Failed:
    word = found.status.name.lower() if found.status else "closed"
    return failures.Failed(f"{issue} has ended ({word}): see how with fettle status {issue}")


def _translated(failed: RPCError, issue: refs.Issue) -> Exception:
    if failed.status is RPCStatusCode.NOT_FOUND:
        return NoSuchRun(f"there is no run of {issue}: label the issue fettle to start one, or see fettle fleet --all")
    unanswered = {RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.CANCELLED}
    if failed.status in unanswered:
        return NotAnswered(
            f"no worker answers for {issue} ({failed.message}): start one with fettle up or fettle worker control, "
            "or see fettle worker list"
        )
    return failed

"""The switches of the whole fleet: pause, and the approval mode."""

from datetime import timedelta
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from cli import failures, render, runs, session, steer
from domain import fleet, refs, wire
from domain.policy import ApprovalMode

_ANSWER: Final = timedelta(seconds=10)
_NOT_RUNNING: Final = (
    "the fleet workflow is not running, so it has no switches to read or change: start a control worker with "
    "fettle up or fettle worker control"
)
_ASKS: Final = {
    ApprovalMode.FULL_AUTO: "nobody is asked",
    ApprovalMode.REVIEW_MERGE: "a person approves each merge",
    ApprovalMode.REVIEW_ALL: "a person approves each start of an agent and each merge",
}


def pause(*, paused: bool, note: str, as_json: bool) -> None:
    """Pause or resume the fleet."""
    state = _configure(steer.checked(lambda: fleet.Change(by=session.operator(), paused=paused, note=note)))
    word = "paused: no new work starts" if state.settings.paused else "not paused: runs are admitted"
    render.emit(state, f"the fleet is {word}{_by(state)}", as_json=as_json)


def set_mode(mode: ApprovalMode, *, note: str, as_json: bool) -> None:
    """Change the approval mode; runs that have started keep theirs."""
    state = _configure(steer.checked(lambda: fleet.Change(by=session.operator(), mode=mode, note=note)))
    line = f"{_mode(state)}{_by(state)}; it counts for runs that start from now on"
    render.emit(state, line, as_json=as_json)


def show_mode(*, as_json: bool) -> None:
    """Print the approval mode."""

    async def work(client: Client) -> fleet.FleetState:
        try:
            found = await _handle(client).describe(rpc_timeout=_ANSWER)
            if found.status is not WorkflowExecutionStatus.RUNNING:  # it would still answer, about what was
                raise failures.Failed(_NOT_RUNNING)
            state: fleet.FleetState = await _handle(client).query(
                wire.SNAPSHOT, result_type=fleet.FleetState, rpc_timeout=_ANSWER
            )
        except RPCError as failed:
            raise _translated(failed) from failed
        return state

    state = session.call(work)
    render.emit(state, f"{_mode(state)}; a repository's own mode goes first (fettle repo show)", as_json=as_json)


def _configure(change: fleet.Change) -> fleet.FleetState:
    async def work(client: Client) -> fleet.FleetState:
        try:
            state: fleet.FleetState = await _handle(client).execute_update(
                wire.CONFIGURE, change, result_type=fleet.FleetState, rpc_timeout=_ANSWER
            )
        except RPCError as failed:
            raise _translated(failed) from failed
        return state

    return session.call(work)


def _handle(client: Client) -> WorkflowHandle[object, object]:
    return client.get_workflow_handle(refs.FLEET_WORKFLOW_ID)


def _translated(failed: RPCError) -> Exception:
    if failed.status is RPCStatusCode.NOT_FOUND:
        return failures.Failed(_NOT_RUNNING)
    if failed.status in {RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}:
        return runs.NotAnswered(
            f"no worker answers for the fleet ({failed.message}): start one with fettle up or fettle worker control, "
            "or see fettle worker list"
        )
    return failed


def _mode(state: fleet.FleetState) -> str:
    return f"the fleet's approval mode is {state.settings.mode}: {_ASKS[state.settings.mode]}"


def _by(state: fleet.FleetState) -> str:
    return f" (by {state.changed_by}{f', {state.note}' if state.note else ''})"

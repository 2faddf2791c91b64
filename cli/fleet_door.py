"""The fleet's workflow as commands reach it: one query or one update, and words for a fleet that does not answer."""

from datetime import timedelta
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from cli import failures, runs
from domain import refs

ANSWER: Final = timedelta(seconds=10)
NOT_RUNNING: Final = (
    "the fleet workflow is not running, so it has no switches to read or change: start a control worker with "
    "fettle up or fettle worker control"
)
_Model = TypeVar("_Model", bound=BaseModel)


async def ask(client: Client, query: str, answer: type[_Model]) -> _Model:
    """The answer to a query of the running fleet.

    Raises:
        failures.Failed: it is not running.
        runs.NotAnswered: no worker answers for it.
    """
    try:
        found = await handle(client).describe(rpc_timeout=ANSWER)
        if found.status is not WorkflowExecutionStatus.RUNNING:  # it would still answer, about what was
            raise failures.Failed(NOT_RUNNING)
        state: _Model = await handle(client).query(query, result_type=answer, rpc_timeout=ANSWER)
    except WorkflowQueryFailedError as failed:
        raise runs.NotAnswered(
            f"the fleet runs an older build ({failed}): let a control worker of this build take it over (fettle worker "
            "list), then repeat the command"
        ) from failed
    except RPCError as failed:
        raise translated(failed) from failed
    return state


async def tell(client: Client, update: str, change: BaseModel, answer: type[_Model]) -> _Model:
    """Make a change to the fleet; its refusal reaches the user as it is.

    Raises:
        failures.Failed: it is not running.
        runs.NotAnswered: no worker answers for it.
    """
    try:
        state: _Model = await handle(client).execute_update(update, change, result_type=answer, rpc_timeout=ANSWER)
    except RPCError as failed:
        raise translated(failed) from failed
    return state


def handle(client: Client) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(refs.FLEET_WORKFLOW_ID)


def translated(failed: RPCError) -> Exception:
    """What the server's error means for the user."""
    if failed.status is RPCStatusCode.NOT_FOUND:
        return failures.Failed(NOT_RUNNING)
    if failed.status in {RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}:
        return runs.NotAnswered(
            f"no worker answers for the fleet ({failed.message}): start one with fettle up or fettle worker control, "
            "or see fettle worker list"
        )
    return failed

"""Worker versions: make this code the current one, and take over the runs of a version that nobody runs any more."""

import asyncio
from typing import Final

import structlog
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio import client, service
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentVersion as VersionMessage
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    SetWorkerDeploymentCurrentVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.common import WorkerDeploymentVersion

_TRIES: Final = 150
_TRY_SECONDS: Final = 0.1

_log = structlog.stdlib.get_logger(__name__)


async def make_current(temporal: client.Client, version: WorkerDeploymentVersion) -> None:
    """Route new runs to this version. The server knows a version only after its worker's first poll.

    Raises:
        RuntimeError: it does not know it after 15 seconds.
    """
    for _ in range(_TRIES):
        try:
            await temporal.workflow_service.set_worker_deployment_current_version(
                SetWorkerDeploymentCurrentVersionRequest(
                    namespace=temporal.namespace,
                    deployment_name=version.deployment_name,
                    build_id=version.build_id,
                    ignore_missing_task_queues=True,
                )
            )
        except service.RPCError as error:
            if error.status not in {service.RPCStatusCode.NOT_FOUND, service.RPCStatusCode.FAILED_PRECONDITION}:
                raise
            await asyncio.sleep(_TRY_SECONDS)
        else:
            return
    raise RuntimeError(f"the server does not know worker version {version} after {_TRIES * _TRY_SECONDS:.0f} s")


async def take_over(temporal: client.Client, version: WorkerDeploymentVersion) -> int:
    """Move every open run that is pinned to another version to this one; returns how many.

    For an installation with one worker at a time (a laptop, compose): after an upgrade nobody polls the old version,
    and a run that is pinned to it would wait for ever. That this code can continue them is what the replay tests of
    the recorded histories promise. A cluster that keeps old workers until their runs end must not call this.
    """
    own = f"{version.deployment_name}:{version.build_id}"
    query = (
        f"ExecutionStatus = 'Running' AND TemporalWorkerDeployment = '{version.deployment_name}' "
        f"AND TemporalWorkerDeploymentVersion != '{own}'"
    )
    override = VersioningOverride(
        pinned=VersioningOverride.PinnedOverride(
            version=VersionMessage(deployment_name=version.deployment_name, build_id=version.build_id),
            behavior=VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED,
        )
    )
    moved = 0
    async for found in temporal.list_workflows(query):
        try:
            await temporal.workflow_service.update_workflow_execution_options(
                UpdateWorkflowExecutionOptionsRequest(
                    namespace=temporal.namespace,
                    workflow_execution=WorkflowExecution(workflow_id=found.id, run_id=found.run_id),
                    workflow_execution_options=WorkflowExecutionOptions(versioning_override=override),
                    update_mask=FieldMask(paths=["versioning_override"]),
                )
            )
        except service.RPCError as error:
            if error.status is not service.RPCStatusCode.NOT_FOUND:  # ended meanwhile
                raise
        else:
            moved += 1
    if moved:
        _log.info("took over open runs of another version", runs=moved, version=own)
    return moved

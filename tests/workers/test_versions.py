"""An upgrade must not strand open runs: pinned to a version that nobody polls, they would wait for ever."""

import asyncio
import os
import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio
from temporalio import common, workflow
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker, WorkerDeploymentConfig

from workers import versions


@workflow.defn(name="Patient", sandboxed=False, versioning_behavior=common.VersioningBehavior.PINNED)
class PatientWorkflow:
    """Waits for one signal: an open run while its worker is replaced."""

    def __init__(self) -> None:
        self._called = False

    @workflow.signal
    def call(self) -> None:
        self._called = True

    @workflow.query
    def called(self) -> bool:
        return self._called

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._called)
        return "done"


def temporal_cli() -> str:
    beside = Path(sys.executable).parent / "temporal"
    found = os.environ.get("FETTLE_TEMPORAL_CLI") or (str(beside) if beside.exists() else shutil.which("temporal"))
    assert found, "the temporal CLI is part of the test dependencies"
    return found


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=temporal_cli(), dev_server_startup_timeout=timedelta(seconds=30)
    ) as environment:
        yield environment.client


def worker_of(temporal: Client, queue: str, version: common.WorkerDeploymentVersion) -> Worker:
    return Worker(
        temporal,
        task_queue=queue,
        workflows=[PatientWorkflow],
        deployment_config=WorkerDeploymentConfig(version=version, use_worker_versioning=True),
    )


async def pinned_run(temporal: Client, deployment: str, queue: str) -> str:
    """A run that was begun by version 1, whose worker is gone."""
    first = common.WorkerDeploymentVersion(deployment_name=deployment, build_id="1")
    async with worker_of(temporal, queue, first):
        await versions.make_current(temporal, first)
        handle = await temporal.start_workflow(PatientWorkflow.run, id=f"patient-{uuid.uuid4()}", task_queue=queue)
        await handle.query("called")  # answered by the worker: the run has begun
    return handle.id


async def test_the_runs_of_a_replaced_version_are_continued(temporal: Client) -> None:
    deployment, queue = f"d-{uuid.uuid4()}", f"q-{uuid.uuid4()}"
    run = await pinned_run(temporal, deployment, queue)
    second = common.WorkerDeploymentVersion(deployment_name=deployment, build_id="2")
    async with worker_of(temporal, queue, second):
        await versions.make_current(temporal, second)
        moved = 0
        for _ in range(100):  # Visibility follows the history by a moment
            if moved := await versions.take_over(temporal, second):
                break
            await asyncio.sleep(0.1)
        assert moved == 1
        handle = temporal.get_workflow_handle(run)
        await handle.signal("call")
        assert await asyncio.wait_for(handle.result(), 20) == "done"


async def test_a_run_of_the_present_version_is_left_alone(temporal: Client) -> None:
    deployment, queue = f"d-{uuid.uuid4()}", f"q-{uuid.uuid4()}"
    await pinned_run(temporal, deployment, queue)
    first = common.WorkerDeploymentVersion(deployment_name=deployment, build_id="1")
    async with worker_of(temporal, queue, first):
        assert await versions.take_over(temporal, first) == 0

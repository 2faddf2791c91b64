"""A real dev server with the real workflows on versioned workers, and the fake world behind their activities."""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from temporalio import client, common, exceptions, service, worker
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetActivityRequest, SetWorkerDeploymentCurrentVersionRequest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from activities import admission, edge, starting
from domain import fleet, implement, refs, run, wire
from tests.workflows import outside as fake
from tests.workflows.world import Host, World
from workers import topology

IDENTITY: Final = "test"
"""Histories carry the identities of clients and workers: ours name no machine."""
BUILD: Final = "test"
FAST_HEARTBEATS: Final = timedelta(seconds=0.1)
"""A cancelled activity hears of it with its next heartbeat."""
_names = itertools.count(1)


def server(**dynamic_config: object) -> dict[str, Any]:
    """Arguments for `WorkflowEnvironment.start_local` and its relatives."""
    keywords = [common.SearchAttributeKey.for_keyword(name) for name in wire.KEYWORD_ATTRIBUTES]
    flags = [common.SearchAttributeKey.for_bool(name) for name in wire.BOOL_ATTRIBUTES]
    settings = {"matching.enableFairness": True, **dynamic_config}
    return {
        "dev_server_existing_path": str(Path(sys.executable).parent / "temporal"),
        "dev_server_startup_timeout": timedelta(seconds=40),
        "dev_server_log_level": "error",
        "data_converter": pydantic_data_converter,
        "identity": IDENTITY,
        "search_attributes": [*keywords, *flags],
        "dev_server_extra_args": [
            part for key, value in settings.items() for part in ("--dynamic-config-value", f"{key}={json.dumps(value)}")
        ],
    }


@dataclass
class Installation:
    temporal: client.Client
    outside: fake.Outside
    hosts: dict[str, worker.Worker]

    def world(self, name: str = "") -> World:
        """A repository that no other test has."""
        repo = refs.Repository(owner="acme", name=f"{name or 'api'}-{next(_names)}-{os.getpid() if not name else 0}")
        world = self.outside.worlds[repo] = World(repo, self.outside.hosts)
        return world

    async def start(self, issue: refs.Issue, **state: Any) -> "Run":
        await starting.start_issue_run(self.temporal, issue, asked_by="ann", **state)
        return self.run(issue)

    def run(self, issue: refs.Issue) -> "Run":
        return Run(self.temporal, self.outside.worlds[issue.repo], issue)


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

    async def approve(self, head_sha: str = "", *, by: str = "ann", update_id: str | None = None) -> run.State:
        decision = run.Decision(by=by, head_sha=head_sha)
        return await self.update(wire.DECIDE, decision, update_id)

    async def hold(self, note: str = "") -> run.State:
        return await self.update(wire.HOLD, run.HoldRequest(by="ann", note=note))

    async def release(self) -> run.State:
        return await self.update(wire.RELEASE, run.HoldRequest(by="ann"))

    async def ended(self) -> run.State:
        return await self.handle.result()

    async def until(self, true: Any, seconds: float = 20) -> run.State:
        """For what only the run's own state tells. Nothing announces it, so it is asked for."""
        async with asyncio.timeout(seconds):
            while not true(state := await self.state()):
                await asyncio.sleep(0.05)
        return state

    async def quiet(self, workflow_id: str = "", seconds: float = 20) -> None:
        """Nothing of this workflow is under way or due: it waits for a message or for a timer."""
        handle = self.temporal.get_workflow_handle(workflow_id or self.issue.workflow_id)
        async with asyncio.timeout(seconds):
            while True:
                described = (await handle.describe()).raw_description
                if not described.pending_activities and not described.HasField("pending_workflow_task"):
                    return
                await asyncio.sleep(0.05)

    async def child_is_held(self, seconds: float = 20) -> None:
        """The round was told of the hold."""
        async with asyncio.timeout(seconds):
            while not (await self.child.query(wire.SNAPSHOT, result_type=implement.State)).held:
                await asyncio.sleep(0.05)

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

    async def place_is_free(self, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while self.issue.workflow_id in {*(state := await self.place()).running, *(w.run for w in state.waiting)}:
                await asyncio.sleep(0.05)

    async def at_gate(self) -> str:
        """The head that waits for approval."""
        state = await self.until(lambda s: s.hold is not None and s.hold.kind is run.HoldKind.MERGE_APPROVAL)
        assert state.change is not None
        return state.change.head_sha

    async def poll_now(self, *, workflow_id: str = "") -> None:
        """What a webhook does: the slow polls look at once."""
        about = workflow_id or self.issue.workflow_id
        described = await self.temporal.get_workflow_handle(about).describe()
        for pending in described.raw_description.pending_activities:
            if pending.activity_type.name in wire.WATCHES:
                await self.temporal.workflow_service.reset_activity(
                    ResetActivityRequest(
                        namespace=self.temporal.namespace,
                        execution=WorkflowExecution(workflow_id=about),
                        id=pending.activity_id,
                    )
                )

    async def events(self, kind: str = "", *, child: bool = False) -> list[Any]:
        """Events of the history, all or of one kind such as `TIMER_STARTED`."""
        history = await (self.child if child else self.handle).fetch_history()
        names = [e for e in history.events if not kind or _name(e) == f"EVENT_TYPE_{kind}"]
        return list(names)


def _name(event: Any) -> str:
    from temporalio.api.enums.v1 import EventType

    return EventType.Name(event.event_type)


async def connect(env: WorkflowEnvironment) -> client.Client:
    """A plain client: the environment's own one would turn failed assertions in workflows into failed workflows."""
    config = env.client.service_client.config
    return await client.Client.connect(
        config.target_host, data_converter=pydantic_data_converter, identity=IDENTITY, namespace=env.client.namespace
    )


@asynccontextmanager
async def installed(
    temporal: client.Client, hosts: tuple[str, ...] = ("host-a", "host-b"), *, workflows: Any = topology.WORKFLOWS
) -> AsyncIterator[Installation]:
    """Workers as `workers.bootstrap` starts them, around the fake world."""
    outside = fake.Outside([Host(name) for name in hosts])
    control = fake.ControlActivities(outside)
    agents = fake.AgentsActivities(outside)
    doors = (admission.AdmissionActivities(temporal), starting.StartingActivities(FakeForge(outside), temporal))  # type: ignore[arg-type] # the one method that intake calls
    version = common.WorkerDeploymentVersion(deployment_name=wire.DEPLOYMENT, build_id=BUILD)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            worker.Worker(
                temporal,
                task_queue=wire.CONTROL_QUEUE,
                workflows=workflows,
                activities=_methods(control, *doors),
                workflow_runner=topology.runner(),
                interceptors=[edge.ErrorTranslation()],
                identity=IDENTITY,
                deployment_config=worker.WorkerDeploymentConfig(
                    version=version,
                    use_worker_versioning=True,
                    default_versioning_behavior=common.VersioningBehavior.PINNED,
                ),
                **_HEARTBEATS,
            )
        )
        await stack.enter_async_context(_unversioned(temporal, wire.AGENTS_QUEUE, agents))
        running = {}
        for host in outside.hosts.values():
            queue = refs.host_queue(host.host_id)
            running[host.host_id] = _unversioned(temporal, queue, fake.HostActivities(outside, host))
            await stack.enter_async_context(running[host.host_id])
        await _make_current(temporal, version)
        yield Installation(temporal, outside, running)


_HEARTBEATS: Final[Mapping[str, Any]] = {
    "max_heartbeat_throttle_interval": FAST_HEARTBEATS,
    "default_heartbeat_throttle_interval": FAST_HEARTBEATS,
}


def _unversioned(temporal: client.Client, queue: str, activities: object) -> worker.Worker:
    return worker.Worker(
        temporal,
        task_queue=queue,
        activities=_methods(activities),
        interceptors=[edge.ErrorTranslation()],
        identity=IDENTITY,
        **_HEARTBEATS,
    )


def _methods(*groups: object) -> list[Any]:
    found = [getattr(group, name) for group in groups for name in dir(group) if not name.startswith("_")]
    return [method for method in found if hasattr(method, "__temporal_activity_definition")]


async def _make_current(temporal: client.Client, version: common.WorkerDeploymentVersion) -> None:
    for _ in range(200):
        try:
            await temporal.workflow_service.set_worker_deployment_current_version(
                SetWorkerDeploymentCurrentVersionRequest(
                    namespace=temporal.namespace,
                    deployment_name=version.deployment_name,
                    build_id=version.build_id,
                    ignore_missing_task_queues=True,
                )
            )
        except service.RPCError:
            await asyncio.sleep(0.1)  # the server knows the version after the worker's first poll
        else:
            return
    raise AssertionError(f"the server does not know {version}")


@dataclass(frozen=True)
class FakeForge:
    """The port that the real intake activity reads."""

    outside: fake.Outside

    async def open_issues(self, repo: refs.Repository, *, label: str) -> list[Any]:
        from domain import forge

        issues = self.outside.world(repo).forge.issues.items()
        return [
            forge.Issue(ref=repo.issue(number), title=i.title, open=i.open, labels=tuple(sorted(i.labels)))
            for number, i in issues
            if i.open and label in i.labels
        ]

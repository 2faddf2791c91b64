"""A real dev server with the real workflows on versioned workers, and the fake world behind their activities."""

import asyncio
import functools
import itertools
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from temporalio import client, common, service, worker
from temporalio.api.workflowservice.v1 import (
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from activities import edge, pool, starting
from domain import refs, wire
from store.engine import Store, open_store
from tests.workflows import agent_hosts
from tests.workflows import outside as fake
from tests.workflows.runs import Run
from tests.workflows.world import Host, World
from workers import topology

IDENTITY: Final = "test"
"""Histories carry the identities of clients and workers: ours name no machine."""
BUILD: Final = "test"
FAST_HEARTBEATS: Final = timedelta(seconds=0.1)
"""A cancelled activity hears of it with its next heartbeat."""
_names = itertools.count(1)


SKIPPING: Final = {"frontend.WorkflowTimeSkippingEnabled": True, "system.workflowTimeSkippingEnabled": True}
"""What a server is configured with whose time tests move."""


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
    control: AsyncExitStack
    make_control: Callable[[], worker.Worker] | None

    @asynccontextmanager
    async def without_control(self) -> AsyncIterator[None]:
        """No control worker polls meanwhile: what arrives is taken up in one workflow task."""
        assert self.make_control is not None
        await self.control.aclose()
        try:
            yield
        finally:
            await self.control.enter_async_context(self.make_control())

    def world(self, name: str = "") -> World:
        """A repository that no other test has."""
        repo = refs.Repository(owner="acme", name=f"{name or 'api'}-{next(_names)}-{os.getpid() if not name else 0}")
        world = self.outside.worlds[repo] = World(repo, self.outside.hosts)
        return world

    async def start(self, issue: refs.Issue, **state: Any) -> Run:
        await starting.start_issue_run(self.temporal, issue, asked_by="ann", **state)
        return self.run(issue)

    def run(self, issue: refs.Issue) -> Run:
        return Run(self.temporal, self.outside.worlds[issue.repo], issue)


async def connect(env: WorkflowEnvironment) -> client.Client:
    """A plain client: the environment's own one would turn failed assertions in workflows into failed workflows."""
    config = env.client.service_client.config
    return await client.Client.connect(
        config.target_host, data_converter=pydantic_data_converter, identity=IDENTITY, namespace=env.client.namespace
    )


@asynccontextmanager
async def installed(
    temporal: client.Client,
    hosts: tuple[str, ...] = ("host-a", "host-b"),
    *,
    control: bool = True,
    agents: bool = True,
) -> AsyncIterator[Installation]:
    """Workers as `workers.bootstrap` starts them, around the fake world. `control` False: another installation on the
    same server has the workflows, this one only adds hosts. `agents` False: no host takes a run or a question."""
    outside = fake.Outside([Host(name) for name in hosts])
    async with AsyncExitStack() as stack:
        running = {}
        held, make_control = AsyncExitStack(), None
        for host in outside.hosts.values():
            queue = refs.host_queue(host.host_id)
            running[host.host_id] = _unversioned(temporal, queue, agent_hosts.HostActivities(outside, host))
            await stack.enter_async_context(running[host.host_id])
        if control and agents:
            await stack.enter_async_context(
                _unversioned(temporal, wire.AGENTS_QUEUE, agent_hosts.AgentsActivities(outside))
            )
        if control:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            store = await open_store(f"sqlite:///{folder}/fettle.db")
            stack.push_async_callback(store.aclose)
            make_control = functools.partial(_control, temporal, outside, store)
            held = await stack.enter_async_context(AsyncExitStack())
            await held.enter_async_context(make_control())
            await _make_current(temporal)
        yield Installation(temporal, outside, running, held, make_control)


VERSION: Final = common.WorkerDeploymentVersion(deployment_name=wire.DEPLOYMENT, build_id=BUILD)


def _control(temporal: client.Client, outside: fake.Outside, store: Store) -> worker.Worker:
    intake = starting.StartingActivities(FakeForge(outside), temporal)  # type: ignore[arg-type] # the one method that intake calls
    return worker.Worker(
        temporal,
        task_queue=wire.CONTROL_QUEUE,
        workflows=topology.WORKFLOWS,
        activities=_methods(
            fake.ControlActivities(outside),
            fake.Doors(temporal, outside),
            pool.PoolActivities(temporal, store),
            intake,
        ),
        workflow_runner=topology.runner(),
        interceptors=[edge.ErrorTranslation()],
        identity=IDENTITY,
        deployment_config=worker.WorkerDeploymentConfig(
            version=VERSION,
            use_worker_versioning=True,
            default_versioning_behavior=common.VersioningBehavior.PINNED,
        ),
        **_HEARTBEATS,
    )


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


async def _make_current(temporal: client.Client) -> None:
    for _ in range(200):
        try:
            await temporal.workflow_service.set_worker_deployment_current_version(
                SetWorkerDeploymentCurrentVersionRequest(
                    namespace=temporal.namespace,
                    deployment_name=VERSION.deployment_name,
                    build_id=VERSION.build_id,
                    ignore_missing_task_queues=True,
                )
            )
        except service.RPCError:
            await asyncio.sleep(0.1)  # the server knows the version after the worker's first poll
        else:
            return
    raise AssertionError(f"the server does not know {VERSION}")


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

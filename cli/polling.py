"""Who polls which task queue, as the Temporal server sees it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel
from rich import console, text
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, ListWorkersRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cli import render
from domain import wire

_FRESH_SECONDS: Final = 120.0
"""A poll lasts up to a minute; a process that has not polled for two is gone or stuck."""
_KINDS: Final = (
    ("workflows", TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
    ("activities", TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
)


class Poller(BaseModel):
    """One process on one queue."""

    queue: str
    kind: str
    identity: str
    last_poll: datetime | None
    build: str = ""

    @property
    def is_fresh(self) -> bool:
        return self.last_poll is not None and (datetime.now(UTC) - self.last_poll).total_seconds() < _FRESH_SECONDS


async def list_all(client: Client) -> list[Poller]:
    """Pollers of the shared queues and of every host queue that the server has heard of lately."""
    queues = [wire.CONTROL_QUEUE, wire.AGENTS_QUEUE, *await _host_queues(client)]
    found = await asyncio.gather(*(of_queue(client, queue) for queue in queues))
    return [poller for pollers in found for poller in pollers]


async def of_queue(client: Client, queue: str) -> list[Poller]:
    found = []
    for kind, number in _KINDS:
        answer = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=number
            )
        )
        found += [
            Poller(
                queue=queue,
                kind=kind,
                identity=p.identity,
                last_poll=p.last_access_time.ToDatetime(tzinfo=UTC) if p.HasField("last_access_time") else None,
                build=p.deployment_options.build_id,
            )
            for p in answer.pollers
        ]
    return found


async def _host_queues(client: Client) -> list[str]:
    """From the workers' own heartbeats; a server without them knows the shared queues only."""
    try:
        answer = await client.workflow_service.list_workers(
            ListWorkersRequest(namespace=client.namespace, page_size=1000)
        )
    except RPCError as failed:
        if failed.status in {RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED}:
            return []
        raise
    names = {info.worker_heartbeat.task_queue for info in answer.workers_info} | {w.task_queue for w in answer.workers}
    return sorted(name for name in names if name.startswith(wire.HOST_QUEUE_PREFIX))


def table(found: Sequence[Poller]) -> console.RenderableType:
    if not found:
        return text.Text("nobody polls: start everything with fettle up, or a worker with fettle worker control")
    rows = [
        (p.queue, p.kind, p.identity, f"{render.age(p.last_poll)} ago" if p.last_poll else "", p.build) for p in found
    ]
    return render.grid(("queue", "polls for", "process", "last poll", "build"), rows)

"""Which worker polls which queue, with how many slots: one table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from workflows.breakdown import BreakdownWorkflow
from workflows.fleet import FleetWorkflow
from workflows.implement import ImplementWorkflow
from workflows.issue import IssueWorkflow
from workflows.issue_intake import IssueIntakeWorkflow
from workflows.merge_queue import MergeQueueWorkflow
from workflows.repository import RepositoryWorkflow

WORKFLOWS: Final[Sequence[type]] = (
    IssueWorkflow,
    ImplementWorkflow,
    MergeQueueWorkflow,
    RepositoryWorkflow,
    FleetWorkflow,
    IssueIntakeWorkflow,
    BreakdownWorkflow,
)

CACHED_WORKFLOWS: Final = 200
"""Runs kept in memory, at about 0.4 MB each (docs/benchmarks.md). A run that works needs two places, itself and its
round; a parked run that falls out is replayed from its history (about 100 events) when it wakes."""


@dataclass(frozen=True)
class Row:
    """One kind of worker."""

    max_activities: int
    graceful_shutdown: timedelta
    heartbeat_throttle: timedelta


CONTROL: Final = Row(
    max_activities=50, graceful_shutdown=timedelta(seconds=8), heartbeat_throttle=timedelta(seconds=30)
)
"""`fettle`: workflows, and short calls to the forge and the store."""
AGENTS: Final = Row(max_activities=20, graceful_shutdown=timedelta(seconds=5), heartbeat_throttle=timedelta(seconds=10))
"""`fettle-agents`: claims, and judgements that need no worktree."""
HOST: Final = Row(max_activities=0, graceful_shutdown=timedelta(seconds=1), heartbeat_throttle=timedelta(seconds=3))
"""`fettle-host/<id>`: the disk. Slots are the leases, with room for short work beside the turns; a stop interrupts
turns at once, since they leave their work where the next attempt finds it, unless `drain_seconds` gives them more. A
cancel is heard within three seconds."""


def runner() -> SandboxedWorkflowRunner:
    """The workflow sandbox. Our pure packages pass through: the domain is deterministic by its own rule, activities
    are only named by workflows, and what activities import is never called in a workflow."""
    ours = ("domain", "activities", "codegraph", "integrations", "store", "sandbox")
    passthrough = (*ours, "httpx", "sqlalchemy", "structlog")
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*passthrough))


def host_row(drain_seconds: float) -> Row:
    """The row of a host that lets its work go on for a while when it is told to stop."""
    return replace(HOST, graceful_shutdown=HOST.graceful_shutdown + timedelta(seconds=drain_seconds))


def host_activities(slots: int) -> int:
    """Every lease may run a turn while its neighbours prepare, integrate or clean up."""
    return 2 * slots + 4


Activities = Sequence[Callable[..., Any]]

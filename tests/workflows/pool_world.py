"""A fleet with its store, and takers of turns in front of it, on a dev server of their own."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from temporalio import client, common, worker
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.service import RPCError
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment

from activities import admission, edge
from activities.pool import PoolActivities, start_fleet
from domain import budget, pool, refs, roster, turn_ends, turns, wire
from store import engine
from tests.workflows import installation, turn_taker
from tests.workflows.runs import attempted_now, eventually
from workers import topology
from workflows.fleet import FleetWorkflow

REPO: Final = refs.Repository(owner="acme", name="api")
BY: Final = "ann"
_VERSION: Final = common.WorkerDeploymentVersion(deployment_name=wire.DEPLOYMENT, build_id="pool-test")
_LATE: Final = time(23, 57)
_numbers = itertools.count(1)


@dataclass
class Fleet:
    """What tests ask and tell the fleet."""

    temporal: client.Client
    store: engine.Store
    activities: PoolActivities

    @property
    def handle(self) -> client.WorkflowHandle[Any, Any]:
        return self.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)

    async def state(self) -> turns.State:
        state: turns.State = await self.handle.query(wire.TURNS, result_type=turns.State)
        return state

    async def length(self) -> int:
        """Events in the fleet's history."""
        return (await self.handle.describe()).history_length

    async def agents(self, kind: roster.Kind, name: str = "", **given: Any) -> roster.Pool:
        change = roster.Change(by=BY, kind=kind, name=name, given=given)
        made: roster.Pool = await self.handle.execute_update(wire.CHANGE_AGENTS, change, result_type=roster.Pool)
        return made

    async def budgets(self, **given: Any) -> budget.Limits:
        change = budget.Change.model_validate({"by": BY, **given})
        made: budget.Limits = await self.handle.execute_update(wire.CHANGE_BUDGETS, change, result_type=budget.Limits)
        return made

    async def take(self, asked: pool.BeginTurn) -> pool.Answer:
        """Asks without an activity."""
        answer: pool.Answer = await self.handle.execute_update(wire.TAKE_TURN, asked, result_type=pool.Answer)
        return answer

    async def settle(self, ended: pool.EndTurn, cost: float | None) -> pool.Settled:
        settlement = turn_ends.Settlement(ended=ended, cost_usd=cost)
        settled: pool.Settled = await self.handle.execute_update(wire.SETTLE_TURN, settlement, result_type=pool.Settled)
        return settled

    def ask(self, **given: object) -> pool.BeginTurn:
        """A turn of a run that no other test has."""
        number = next(_numbers)
        fields = {"run": f"issue/acme/api/{number}", "repo": REPO, "issue": number, "default_backend": "claude"}
        return pool.BeginTurn.model_validate({**fields, **given})

    async def taker(
        self, *, costs: tuple[float | None, ...] = (1.0,), by_hand: bool = False, **given: object
    ) -> "Taker":
        asked = self.ask(**given)
        handle = await self.temporal.start_workflow(
            turn_taker.NAME,
            turn_taker.Work(asked=asked, costs=costs, by_hand=by_hand),
            id=asked.run,
            task_queue=wire.CONTROL_QUEUE,
            result_type=turn_taker.Report,
        )
        return Taker(self.temporal, handle, asked)


@dataclass
class Taker:
    temporal: client.Client
    handle: client.WorkflowHandle[Any, turn_taker.Report]
    asked: pool.BeginTurn

    async def report(self) -> turn_taker.Report:
        return await self.handle.query("report", result_type=turn_taker.Report)

    async def granted(self, count: int = 1) -> list[pool.Answer]:
        return (await eventually(self.report, lambda r: len(r.granted) >= count)).granted

    async def waits(self) -> str:
        """The sentence of the wait, once it has been told."""

        async def said() -> str:
            pending = (await self.handle.describe()).raw_description.pending_activities
            return pending[0].last_failure.message if pending else ""

        return await eventually(said)

    async def asks_now(self) -> None:
        await attempted_now(self.temporal, self.handle.id)

    async def ends(self, outcome: str = "finished", retry_after_seconds: float | None = None) -> None:
        how = turn_taker.End(outcome=outcome, retry_after_seconds=retry_after_seconds)
        await self.handle.signal("end", how)


@asynccontextmanager
async def within_a_day(folder: Path, *more: type) -> AsyncIterator[Fleet]:
    """As `running`, on a server of its own, and the day whose budget a test counts does not end meanwhile: close to its
    end the fleet's clock is set to the next noon, which takes a server that answers more slowly."""
    if datetime.now(UTC).time() < _LATE:
        async with (
            await WorkflowEnvironment.start_local(**installation.server()) as plain,
            running(await installation.connect(plain), folder, *more) as fleet,
        ):
            yield fleet
        return
    async with (
        await WorkflowEnvironment.start_time_skipping_v2(
            ts_config=TimeSkippingConfig(enabled=False), **installation.server(**installation.SKIPPING)
        ) as env,
        running(env.client, folder, *more) as fleet,
    ):
        now = await env.get_current_time(fleet.handle)
        noon = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(12), UTC)
        await env.fast_forward(fleet.handle, noon - now)
        yield fleet


@asynccontextmanager
async def running(temporal: client.Client, folder: Path, *more: type) -> AsyncIterator[Fleet]:
    """A control worker with the fleet, the takers, `more` workflows, and their activities."""
    async with AsyncExitStack() as stack:
        store = await engine.open_store(f"sqlite:///{folder}/fettle.db")
        stack.push_async_callback(store.aclose)
        activities, doors = PoolActivities(temporal, store), admission.AdmissionActivities(temporal)
        control = worker.Worker(
            temporal,
            task_queue=wire.CONTROL_QUEUE,
            workflows=[FleetWorkflow, turn_taker.TurnTaker, *more],
            activities=[activities.begin_turn, activities.end_turn, doors.find_ended_runs],
            workflow_runner=topology.runner(),
            interceptors=[edge.ErrorTranslation()],
            deployment_config=worker.WorkerDeploymentConfig(
                version=_VERSION,
                use_worker_versioning=True,
                default_versioning_behavior=common.VersioningBehavior.PINNED,
            ),
        )
        await stack.enter_async_context(control)
        await eventually(lambda: _made_current(temporal))
        await start_fleet(temporal)
        fleet = Fleet(temporal, store, activities)
        await eventually(lambda: _has_begun(fleet))
        yield fleet


async def _has_begun(fleet: Fleet) -> bool:
    """The fleet's first workflow task is over: whoever counts events from now on counts none of it."""
    described = (await fleet.handle.describe()).raw_description
    return described.workflow_execution_info.history_length > 3 and not described.HasField("pending_workflow_task")


async def _made_current(temporal: client.Client) -> bool:
    """The server knows the version after the worker's first poll."""
    try:
        await temporal.workflow_service.set_worker_deployment_current_version(
            SetWorkerDeploymentCurrentVersionRequest(
                namespace=temporal.namespace,
                deployment_name=_VERSION.deployment_name,
                build_id=_VERSION.build_id,
                ignore_missing_task_queues=True,
            )
        )
    except RPCError:
        return False
    return True

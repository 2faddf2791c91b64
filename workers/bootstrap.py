"""From settings to running workers: open the ports, build the activities, poll until a signal asks to stop."""

import asyncio
import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, Final

import structlog
from temporalio import client, service, worker
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion, WorkflowIDConflictPolicy

from activities import admission, ci, claiming, closing, edge, merging, opening, pull_request, reviewing, starting
from activities.agent_turn import AgentTurnActivities
from activities.artifact_store import DirectoryStore
from activities.breakdown import BreakdownActivities, BreakdownJudgementActivities
from activities.hooks import HookRunner
from activities.hosts import HostActivities, host_id
from activities.integration import IntegrationActivities
from activities.judge_process import ConfinedRunner
from activities.path_leases import PathLeaseActivities
from activities.pool import PoolActivities
from activities.rooms import Confinement
from activities.verification import VerificationActivities
from activities.workflow_file import WorkflowFiles
from activities.worktree import WorktreeActivities
from domain import fleet, refs, wire
from domain.policy import ApprovalMode
from domain.redaction import Redactor, held_in
from integrations.agent import registry
from integrations.forge import github_events
from integrations.forge.connect import open_forge
from integrations.forge.port import Forge
from integrations.git.mirror import Mirrors
from store.engine import Store, open_store
from web import app, dispatch, waker
from workers import (
    agent_hosting,
    connection,
    egress,
    forges,
    health,
    host_reporting,
    http_server,
    logging,
    schedules,
    seeding,
    topology,
    versions,
)
from workers import agents as host_agents
from workers import confinement as sandboxing
from workers.settings import Settings

_log = structlog.stdlib.get_logger(__name__)

_UPDATES_AT_ONCE: Final = 8
_UPDATE_AGAIN_SECONDS: Final = 30


def build_id(settings: Settings) -> str:
    """What this code calls itself in worker versioning: the operator's word, Kubernetes' word, or the release."""
    return settings.build_id or os.environ.get("TEMPORAL_WORKER_BUILD_ID") or metadata.version("fettle-orchestrator")


@asynccontextmanager
async def _forge(settings: Settings) -> AsyncIterator[Forge]:
    opened = open_forge(forges.adapter_settings(settings.forge))
    try:
        yield opened
    finally:
        await opened.aclose()


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    opened = await open_store(settings.store_dsn)
    try:
        yield opened
    finally:
        await opened.aclose()


async def run_control(settings: Settings) -> None:
    """Workflows and short activities, until SIGTERM or SIGINT."""
    redactor = Redactor(settings.secrets() | held_in(os.environ))
    logging.configure(redactor.redact, level=settings.log_level)
    async with AsyncExitStack() as stack:
        temporal = await connection.connect("control", state=settings.state_dir)
        forge = await stack.enter_async_context(_forge(settings))
        store = await stack.enter_async_context(_store(settings))
        version = WorkerDeploymentVersion(deployment_name=wire.DEPLOYMENT, build_id=build_id(settings))
        control = worker.Worker(
            temporal,
            task_queue=wire.CONTROL_QUEUE,
            workflows=topology.WORKFLOWS,
            activities=_control_activities(settings, temporal, forge, store, redactor),
            workflow_runner=topology.runner(),
            interceptors=[edge.ErrorTranslation()],
            max_cached_workflows=topology.CACHED_WORKFLOWS,
            deployment_config=worker.WorkerDeploymentConfig(
                version=version,
                use_worker_versioning=True,
                default_versioning_behavior=VersioningBehavior.PINNED,
            ),
            **_options(topology.CONTROL, topology.CONTROL.max_activities),
        )
        await stack.enter_async_context(health.serving(settings.health_address, temporal))
        await stack.enter_async_context(control)
        if "TEMPORAL_WORKER_BUILD_ID" not in os.environ:  # Kubernetes' controller rolls versions out itself
            await versions.make_current(temporal, version)
            await versions.take_over(temporal, version)
        await _ensure_fleet(temporal, settings)
        await seeding.seed(temporal, settings)
        updating = asyncio.create_task(_update_intakes(temporal, store, settings))
        try:
            await _until_stopped("control")
        finally:
            updating.cancel()
            await asyncio.gather(updating, return_exceptions=True)


def _control_activities(
    settings: Settings, temporal: client.Client, forge: Forge, store: Store, redactor: Redactor
) -> topology.Activities:
    async def mode() -> ApprovalMode:
        return await _fleet_mode(temporal, settings.approval_mode)

    defaults = opening.Defaults(
        backend=settings.default_agent,
        judge=settings.judge,
        ci_poll_seconds=settings.ci_poll_seconds,
        gate_poll_seconds=settings.gate_poll_seconds,
    )
    groups: Sequence[object] = (
        opening.OpeningActivities(forge, store, mode, defaults),
        claiming.ClaimingActivities(forge, redactor),
        admission.AdmissionActivities(temporal),
        PoolActivities(temporal, store),
        pull_request.PullRequestActivities(forge, redactor),
        reviewing.ReviewPostingActivities(forge, redactor),
        ci.CiActivities(forge),
        merging.MergeActivities(forge),
        closing.ClosingActivities(forge, store, redactor),
        BreakdownActivities(forge, redactor, settings.judge),
        starting.StartingActivities(
            forge, temporal, WorkflowFiles(forge, store), timedelta(seconds=settings.intake_interval_seconds)
        ),
    )
    return _methods(groups)


async def run_agents(settings: Settings) -> None:
    """One agent host: claims and judgements on the shared queue, everything that needs the disk on its own."""
    agents = host_agents.backend_settings(settings)
    backends = registry.backends(agents)
    redactor = Redactor(settings.secrets() | held_in(os.environ) | host_agents.keys(backends, os.environ))
    logging.configure(redactor.redact, level=settings.log_level)
    state = settings.host_state_dir
    async with AsyncExitStack() as stack:
        host = settings.host_id or host_id(state)
        temporal = await connection.connect(f"agents-{host}", state=settings.state_dir)
        await stack.enter_async_context(health.serving(settings.health_address, temporal))
        forge = await stack.enter_async_context(_forge(settings))
        level = await sandboxing.opened(settings)
        confinement = Confinement(dict(os.environ), level, sandboxing.rlimits(settings))
        # Without a sandbox that holds, no agent is ready here: the host claims no run.
        found = {} if level.why_not else host_agents.versions(backends, confinement.host_environment)
        mirrors = Mirrors.under(state)
        store = DirectoryStore(settings.artifacts_dir)
        way_out = egress.of(settings, confinement.host_environment, store, redactor)
        judge_cli = backends.get(settings.judge)
        judges = ConfinedRunner(state, confinement, way_out, judge_cli)
        judge, till = host_agents.judge_of(settings, agents, judge_cli, judges, temporal)
        graph = host_agents.graph_of(settings, mirrors, redactor)
        draining = agent_hosting.Draining()
        hooks = HookRunner(confinement, store, redactor, state, way_out=way_out)
        leases = HostActivities(
            mirrors,
            settings.agent_slots,
            found,
            functools.partial(starting.is_open, temporal),
            name=host,
            forge=forge,
            draining=draining,
            hooks=hooks,
            why_no_agents=level.why_not,
            level=settings.sandbox,
            others=functools.partial(host_reporting.read_all, store),
        )
        shared = (
            leases,
            reviewing.JudgementActivities(forge, judge, redactor, till, graph),
            BreakdownJudgementActivities(judge, redactor, till),
            PathLeaseActivities(forge, mirrors, redactor, graph),
        )
        disk = (
            WorktreeActivities(forge, mirrors, hooks=hooks),
            AgentTurnActivities(
                backends,
                store,
                state,
                confinement,
                redactor,
                checkpoints=agent_hosting.checkpoints(host, forge, mirrors, store, redactor),
                hooks=hooks,
                graph=graph,
                way_out=way_out,
                checkpoint_seconds=settings.checkpoint_seconds,
                drain_seconds=settings.drain_seconds,
            ),
            IntegrationActivities(forge, mirrors, store, redactor),
            VerificationActivities(
                forge, mirrors, store, redactor, level, way_out, rlimits=confinement.rlimits, graph=graph
            ),
            leases,
        )
        named = agent_hosting.agents_of(backends, confinement.host_environment)
        report = agent_hosting.Reporter(host, settings, leases, named, level, draining)
        await stack.enter_async_context(host_reporting.reporting(store, report))
        workers = [
            worker.Worker(
                temporal,
                task_queue=queue,
                activities=_methods(groups),
                interceptors=[edge.ErrorTranslation()],
                disable_eager_activity_execution=True,
                **_options(row, slots),
            )
            for queue, groups, row, slots in (
                (wire.AGENTS_QUEUE, shared, topology.AGENTS, topology.AGENTS.max_activities),
                (
                    refs.host_queue(host),
                    disk,
                    topology.host_row(settings.drain_seconds),
                    topology.host_activities(settings.agent_slots),
                ),
            )
        ]
        for each in workers:
            await stack.enter_async_context(each)
        but = {"but": f"claims no run, its sandbox does not hold: {level.why_not}"} if level.why_not else {}
        await _until_stopped("agents", host=host, **but)
        draining.asked = True
        await agent_hosting.stop(workers)


async def run_web(settings: Settings) -> None:
    """The webhook intake, until SIGTERM or SIGINT."""
    redactor = Redactor(settings.secrets() | held_in(os.environ))
    logging.configure(redactor.redact, level=settings.log_level)
    async with AsyncExitStack() as stack:
        temporal = await connection.connect("web", state=settings.state_dir)
        forge = await stack.enter_async_context(_forge(settings))
        store = await stack.enter_async_context(_store(settings))
        dispatcher = dispatch.Dispatcher(
            store.inbox,
            github_events.parse,
            waker.Waker(temporal, store.repositories, forge.issue, WorkflowFiles(forge, store).why_not),
            lambda: datetime.now(UTC),
        )
        secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
        intake = app.create_app(store.inbox, dispatcher, secret, lambda: datetime.now(UTC))
        await stack.enter_async_context(health.serving(settings.health_address, temporal))
        await stack.enter_async_context(http_server.listening(intake, settings.web_host, settings.web_port))
        await _until_stopped("web")


def _options(row: topology.Row, slots: int) -> dict[str, Any]:
    return {
        "max_concurrent_activities": slots,
        "graceful_shutdown_timeout": row.graceful_shutdown,
        "max_heartbeat_throttle_interval": row.heartbeat_throttle,
        "default_heartbeat_throttle_interval": row.heartbeat_throttle,
    }


def _methods(groups: Sequence[object]) -> list[Any]:
    """Every activity of these objects: the methods that carry an activity definition."""
    names = [(group, name) for group in groups for name in dir(type(group)) if not name.startswith("_")]
    return [getattr(group, name) for group, name in names if _is_activity(getattr(type(group), name, None))]


def _is_activity(candidate: object) -> bool:
    return hasattr(candidate, "__temporal_activity_definition")


async def _ensure_fleet(temporal: client.Client, settings: Settings) -> None:
    await temporal.start_workflow(
        wire.FLEET_WORKFLOW,
        fleet.FleetState(settings=fleet.Settings(mode=settings.approval_mode)),
        id=refs.FLEET_WORKFLOW_ID,
        task_queue=wire.CONTROL_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary="Fleet: pause and approval mode",
        search_attributes=admission.attributes("fleet", None),
    )


async def _update_intakes(temporal: client.Client, store: Store, settings: Settings) -> None:
    """Bring every repository's schedule up to these settings. It goes on beside the polling: the schedules exist, and
    a server that has just come up answers for hundreds of them in minutes."""
    limit = asyncio.Semaphore(_UPDATES_AT_ONCE)

    async def update(repo: refs.Repository) -> None:
        async with limit:
            if await store.repositories.get(repo) is not None:  # it may have been removed meanwhile
                await schedules.ensure_intake(temporal, repo, settings)

    while True:
        registered = [registration.ref for registration in await store.repositories.list()]
        answers = await asyncio.gather(*map(update, registered), return_exceptions=True)
        failed = {str(r): str(a) for r, a in zip(registered, answers, strict=True) if isinstance(a, Exception)}
        if not failed:
            return
        _log.warning("schedules could not be updated", failed=failed, retry_in_seconds=_UPDATE_AGAIN_SECONDS)
        await asyncio.sleep(_UPDATE_AGAIN_SECONDS)


async def _fleet_mode(temporal: client.Client, default: ApprovalMode) -> ApprovalMode:
    try:
        handle = temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
        state = await handle.query(wire.SNAPSHOT, result_type=fleet.FleetState, rpc_timeout=timedelta(seconds=5))
    except service.RPCError as error:
        if error.status is service.RPCStatusCode.NOT_FOUND:
            return default
        raise
    return ApprovalMode(state.settings.mode)


async def _until_stopped(role: str, **facts: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, stop.set)
    _announce(role, **facts)
    await stop.wait()
    _log.info("stopping", role=role)


def _announce(role: str, **facts: str) -> None:
    """One line for whoever started this process: it polls."""
    print(json.dumps({"ready": True, "pid": os.getpid(), "role": role, **facts}), file=sys.stdout, flush=True)  # noqa: T201 - the line is the interface
    _log.info("polling", role=role, **facts)

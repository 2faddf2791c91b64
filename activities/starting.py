"""Start runs: the one place that knows with which id, queue, attributes and words an issue's run begins."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, client, common, service

from domain import intake, refs, run, tasks, triage, wire
from integrations.forge.port import Forge

KIND = common.SearchAttributeKey.for_keyword(wire.SA_KIND)
REPO = common.SearchAttributeKey.for_keyword(wire.SA_REPO)
PHASE = common.SearchAttributeKey.for_keyword(wire.SA_PHASE)
NEEDS_HUMAN = common.SearchAttributeKey.for_bool(wire.SA_NEEDS_HUMAN)


async def start_issue_run(
    temporal: client.Client, issue: refs.Issue, *, asked_by: str, title: str = "", fresh: bool = False
) -> client.WorkflowHandle[object, object]:
    """Start the run of an issue, or find the one that is open: the workflow id is the dedupe key."""
    return await temporal.start_workflow(
        wire.ISSUE_WORKFLOW,
        run.State(issue=issue, asked_by=asked_by, title=title, fresh=fresh),
        id=issue.workflow_id,
        task_queue=wire.CONTROL_QUEUE,
        id_conflict_policy=common.WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=common.WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"{issue}: {title}"[:200] if title else str(issue),
        static_details=f"Asked by {asked_by}.",
        priority=common.Priority(priority_key=triage.DEFAULT_PRIORITY, fairness_key=str(issue.repo)[:64]),
        task_timeout=timedelta(seconds=20),
        search_attributes=common.TypedSearchAttributes(
            [
                common.SearchAttributePair(KIND, "issue"),
                common.SearchAttributePair(REPO, str(issue.repo)),
                common.SearchAttributePair(PHASE, run.Phase.RECEIVED.value),
                common.SearchAttributePair(NEEDS_HUMAN, False),
            ]
        ),
    )


@dataclass(frozen=True)
class StartingActivities:
    forge: Forge
    temporal: client.Client

    @activity.defn(name=wire.START_RUNS)
    async def start_runs(self, request: intake.IntakeRequest) -> tasks.IntakeResult:
        """Start a run for every open issue that carries the trigger label. Running twice is safe: the label is the
        truth, read afresh, and a run that is open is found by its id."""
        found = await self.forge.open_issues(request.repo, label=request.label)
        started, skipped = [], []
        for issue in found:
            if triage.may_start(issue.labels, is_open=issue.open):
                await start_issue_run(self.temporal, issue.ref, asked_by="intake", title=issue.title)
                started.append(str(issue.ref))
            else:
                skipped.append(str(issue.ref))
        return tasks.IntakeResult(seen=len(found), started=tuple(started[:50]), skipped=tuple(skipped[:50]))


async def is_open(temporal: client.Client, workflow_id: str) -> bool:
    """Whether the newest execution with this id is still running."""
    try:
        description = await temporal.get_workflow_handle(workflow_id).describe()
    except service.RPCError as error:
        if error.status is service.RPCStatusCode.NOT_FOUND:
            return False
        raise
    return description.close_time is None

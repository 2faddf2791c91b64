"""Start runs: the one place that knows with which id, queue, attributes and words an issue's run begins."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, client, common, service

from activities import intake_pace, workflow_file
from domain import intake, refs, run, tasks, triage, wire, work
from integrations.forge.port import Forge

KIND = common.SearchAttributeKey.for_keyword(wire.SA_KIND)
REPO = common.SearchAttributeKey.for_keyword(wire.SA_REPO)
PHASE = common.SearchAttributeKey.for_keyword(wire.SA_PHASE)
NEEDS_HUMAN = common.SearchAttributeKey.for_bool(wire.SA_NEEDS_HUMAN)


GENERATION = 5
"""Of new runs, see `run.State.generation`. It grows when the steps of a run change, and is then recorded with it."""


async def start_issue_run(
    temporal: client.Client,
    issue: refs.Issue,
    *,
    asked_by: str,
    title: str = "",
    fresh: bool = False,
    accepted: tuple[work.AcceptedCommit, ...] = (),
) -> client.WorkflowHandle[object, object]:
    """Start the run of an issue, or find the one that is open: the workflow id is the dedupe key.

    Args:
        accepted: What persons did by hand in an earlier run, on whose branch this one goes on.
    """
    return await temporal.start_workflow(
        wire.ISSUE_WORKFLOW,
        run.State(issue=issue, generation=GENERATION, asked_by=asked_by, title=title, fresh=fresh, accepted=accepted),
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
    """`files` None: no repository has a file that says which issues it means."""

    forge: Forge
    temporal: client.Client
    files: workflow_file.WorkflowFiles | None = None
    interval: timedelta = timedelta(seconds=30)
    """The installation's; a repository may ask for a longer one."""

    @activity.defn(name=wire.START_RUNS)
    async def start_runs(self, request: intake.IntakeRequest) -> tasks.IntakeResult:
        """Start a run for every open issue that carries the trigger label and that the repository's WORKFLOW.md means.
        Running twice is safe: the label is the truth, read afresh, and a run that is open is found by its id."""
        current = await self._file(request.repo)
        found = await self.forge.open_issues(request.repo, label=request.label)
        started, skipped = [], []
        for issue in found:
            why = "" if triage.may_start(issue.labels, is_open=issue.open) else "closed or without the label by now"
            if not why and self.files is not None:
                why = await self.files.mismatch(current, issue)
            if why:
                skipped.append(f"{issue.ref}: {why}"[:300])
                continue
            await start_issue_run(self.temporal, issue.ref, asked_by="intake", title=issue.title)
            started.append(str(issue.ref))
        return tasks.IntakeResult(
            seen=len(found), started=tuple(started[:50]), skipped=tuple(skipped[:50]), problem=current.problem
        )

    async def _file(self, repo: refs.Repository) -> workflow_file.Current:
        """Read at every look, as the pace of the looks may have changed as well."""
        record = await self.files.store.repositories.get(repo) if self.files else None
        if self.files is None or record is None:
            return workflow_file.Current()
        current = await self.files.current(repo, record.policy)
        wished = current.workflow.poll_seconds if current.workflow else None
        if not current.blocks:
            await intake_pace.align(self.temporal, repo, max(self.interval, timedelta(seconds=wished or 0)))
        return current


async def is_open(temporal: client.Client, workflow_id: str) -> bool:
    """Whether the newest execution with this id is still running."""
    return await found_open(temporal, workflow_id) is not None


async def found_open(temporal: client.Client, workflow_id: str) -> client.WorkflowExecutionDescription | None:
    """The newest execution with this id, None when it is over or there was none."""
    try:
        description = await temporal.get_workflow_handle(workflow_id).describe()
    except service.RPCError as error:
        if error.status is service.RPCStatusCode.NOT_FOUND:
            return None
        raise
    return description if description.close_time is None else None

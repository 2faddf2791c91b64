"""Doors between workflows that a workflow cannot open itself: start-and-signal of entities, and a look who ended."""

from dataclasses import dataclass

from temporalio import activity, client, common, service

from activities import starting
from domain import fleet, merge_queue, refs, run, tasks, wire


@dataclass(frozen=True)
class AdmissionActivities:
    temporal: client.Client

    @activity.defn(name=wire.REQUEST_ADMISSION)
    async def request_admission(self, request: tasks.RequestAdmission) -> tasks.Admission:
        """Ask the repository's entity for a place. Running twice is safe: a run that asks again is asked for once."""
        start: client.WithStartWorkflowOperation[object, object] = client.WithStartWorkflowOperation(
            wire.REPOSITORY_WORKFLOW,
            fleet.RepositoryState(repo=request.repo),
            id=refs.repository_workflow_id(request.repo),
            task_queue=wire.CONTROL_QUEUE,
            id_conflict_policy=common.WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"Admission of runs to {request.repo}",
            search_attributes=attributes("repository", request.repo),
        )
        admission: tasks.Admission = await self.temporal.execute_update_with_start_workflow(
            wire.ADMIT,
            fleet.AdmissionRequest.model_validate(request.model_dump(exclude={"repo"})),
            start_workflow_operation=start,
            result_type=tasks.Admission,
            id=_once(),
        )
        return admission

    @activity.defn(name=wire.ASK_CLEARANCE)
    async def ask_clearance(self, question: merge_queue.ClearanceQuestion) -> merge_queue.Clearance:
        """Ask a run whether its head may be merged now. Running twice is safe: the same question gets the first answer,
        and a new one is a question of its own."""
        try:
            clearance: merge_queue.Clearance = await self.temporal.get_workflow_handle(question.run).execute_update(
                wire.CLEAR_MERGE, question, id=_once(), result_type=merge_queue.Clearance
            )
        except service.RPCError as error:
            if error.status is service.RPCStatusCode.NOT_FOUND:
                return merge_queue.Clearance(granted=False, reason="its run is over")
            raise
        return clearance

    @activity.defn(name=wire.REQUEST_MERGE)
    async def request_merge(self, request: merge_queue.BuildCandidate) -> tasks.Nothing:
        """Line a pull request up in its branch's queue. Running twice is safe: the queue keeps one entry a run."""
        repo = request.entry.pull.repo
        await self.temporal.start_workflow(
            wire.MERGE_QUEUE_WORKFLOW,
            merge_queue.State(repo=repo, branch=request.branch),
            id=refs.merge_queue_workflow_id(repo, request.branch),
            task_queue=wire.CONTROL_QUEUE,
            id_conflict_policy=common.WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=wire.MERGE_REQUESTED,
            start_signal_args=[request.entry],
            static_summary=f"Merge queue of {repo} {request.branch}",
            search_attributes=attributes("merge-queue", repo),
        )
        return tasks.Nothing()

    @activity.defn(name=wire.REGISTER_REPOSITORY)
    async def register_repository(self, repo: refs.Repository) -> tasks.Nothing:
        """Tell the fleet that a repository's entity is up. Running twice is safe: it is told the settings again."""
        await self.temporal.start_workflow(
            wire.FLEET_WORKFLOW,
            fleet.FleetState(),
            id=refs.FLEET_WORKFLOW_ID,
            task_queue=wire.CONTROL_QUEUE,
            id_conflict_policy=common.WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=wire.REPOSITORY_SEEN,
            start_signal_args=[repo],
            static_summary="Fleet: pause and approval mode",
            search_attributes=attributes("fleet", None),
        )
        return tasks.Nothing()

    @activity.defn(name=wire.FIND_ENDED_RUNS)
    async def find_ended_runs(self, request: tasks.Runs) -> tasks.Ended:
        """Which of these workflows are no longer open, and which have pushed work. Running twice is safe: it only
        reads."""
        ended, pushed = [], []
        for workflow_id in request.workflow_ids:
            found = await starting.found_open(self.temporal, workflow_id)
            if found is None:
                ended.append(workflow_id)
            elif found.typed_search_attributes.get(starting.PHASE) in run.AFTER_PUSH:
                pushed.append(workflow_id)
        return tasks.Ended(workflow_ids=tuple(ended), pushed=tuple(pushed))


def _once() -> str:
    """An update id that every attempt of this activity shares, and no other activity."""
    info = activity.info()
    return f"{info.workflow_run_id}:{info.activity_id}"


def attributes(kind: str, repo: refs.Repository | None) -> common.TypedSearchAttributes:
    pairs: list[common.SearchAttributePair[str]] = [common.SearchAttributePair(starting.KIND, kind)]
    if repo is not None:
        pairs.append(common.SearchAttributePair(starting.REPO, str(repo)))
    return common.TypedSearchAttributes(pairs)

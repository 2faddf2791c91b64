"""Look for labelled issues and start their runs: what the webhook does at once, the schedule does for certain."""

from temporalio import common, workflow

from activities import options
from activities.starting import StartingActivities
from domain import intake, tasks, wire


@workflow.defn(name=wire.ISSUE_INTAKE_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class IssueIntakeWorkflow:
    """Started by the schedule `intake/<owner>/<repo>`; minutes long at most."""

    @workflow.run
    async def run(self, request: intake.IntakeRequest) -> tasks.IntakeResult:
        found = await workflow.execute_activity_method(
            StartingActivities.start_runs, request, summary=f"issues labelled {request.label}", **options.FORGE
        )
        workflow.set_current_details(f"{found.seen} seen, {len(found.started)} started")
        return found

"""The fleet's switches (pause, approval mode), told to every repository."""

from temporalio import common, exceptions, workflow
from temporalio.exceptions import ApplicationError

from domain import errors, fleet, refs, wire


@workflow.defn(name=wire.FLEET_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class FleetWorkflow:
    """Id `fleet`; started with the first worker, never ends by itself."""

    @workflow.init
    def __init__(self, state: fleet.FleetState) -> None:
        self._state = state

    @workflow.update(name=wire.CONFIGURE, description="Pause, resume, or change the approval mode of new runs")
    def configure(self, change: fleet.Change) -> fleet.FleetState:
        self._state.apply(change, workflow.now())
        return self._state

    @configure.validator
    def _check(self, change: fleet.Change) -> None:
        try:
            self._state.check(change)
        except errors.Refused as refused:
            raise ApplicationError(str(refused), type=refused.wire_type(), non_retryable=True) from None

    @workflow.signal(name=wire.REPOSITORY_SEEN, description="A repository's entity is up and asks for the switches")
    def repository_seen(self, repo: refs.Repository) -> None:
        self._state.seen(repo)

    @workflow.query(name=wire.SNAPSHOT, description="The switches and the repositories that know them")
    def snapshot(self) -> fleet.FleetState:
        return self._state

    @workflow.run
    async def run(self, _: fleet.FleetState) -> None:
        while True:
            workflow.set_current_details(self._card())
            await workflow.wait_condition(lambda: bool(self._state.untold) or self._due())
            if self._state.untold:
                await self._tell(self._state.untold[0])
            else:
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(
                    self._state, initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
                )

    def _due(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.is_target_worker_deployment_version_changed()

    async def _tell(self, repo: refs.Repository) -> None:
        """Taken off the list before the await: a change that arrives meanwhile puts it back, and it is told again."""
        self._state.untold = tuple(r for r in self._state.untold if r != repo)
        try:
            await workflow.get_external_workflow_handle(refs.repository_workflow_id(repo)).signal(
                wire.FLEET_SETTINGS, self._state.settings
            )
        except exceptions.ApplicationError:  # its entity is not running; it will report in when it is
            self._state.repositories = tuple(r for r in self._state.repositories if r != repo)

    def _card(self) -> str:
        state = self._state
        switch = f"paused by {state.changed_by}" if state.settings.paused else "taking work"
        note = f": {state.note}" if state.note else ""
        return f"**Fleet** {switch}{note}; mode `{state.settings.mode}`; {len(state.repositories)} repositories"

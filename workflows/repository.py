"""Admission to one repository: as many runs at once as its policy allows, none while the fleet is paused."""

import contextlib
import functools
from datetime import timedelta

from temporalio import common, exceptions, workflow

from activities import options
from activities.admission import AdmissionActivities
from activities.path_leases import PathLeaseActivities
from domain import fleet, numerals, path_leases, tasks, wire
from workflows import watching

FLEET_ANSWERS_IN = timedelta(seconds=3)
RECONCILE_EVERY = timedelta(minutes=5)
"""How long a place that nobody gave back (a terminated run) can keep others out."""
A_MOMENT = timedelta(seconds=1)


@workflow.defn(name=wire.REPOSITORY_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class RepositoryWorkflow:
    """Id `repository/<owner>/<repo>`; started by the first run that asks, never ends by itself."""

    @workflow.init
    def __init__(self, state: fleet.RepositoryState) -> None:
        self._state = state
        self._looked = workflow.now()

    @workflow.update(name=wire.ADMIT, description="Give a run a place now, or a place in line")
    async def admit(self, request: fleet.AdmissionRequest) -> tasks.Admission:
        """The first run of a repository comes before the fleet's switches do: it waits for them a moment, in which no
        place can be given to anybody. One that is not granted is told by a signal."""
        if self._state.settings is None:
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._state.settings is not None,
                    timeout=FLEET_ANSWERS_IN,
                    timeout_summary="the fleet's switches",
                )
        return tasks.Admission(granted=self._state.admit_or_queue(request))

    @workflow.signal(name=wire.ADMISSION_ENDED, description="A run gives its place back")
    def admission_ended(self, run: str) -> None:
        self._state.ended(run)

    @workflow.signal(name=wire.FLEET_SETTINGS, description="The fleet's switches, as they are now")
    def fleet_settings(self, settings: fleet.Settings) -> None:
        self._state.configure(settings)

    @workflow.query(name=wire.SNAPSHOT, description="Who works here and who waits")
    def snapshot(self) -> fleet.RepositoryState:
        return self._state

    @workflow.run
    async def run(self, _: fleet.RepositoryState) -> None:
        registered = self._state.settings is not None
        while True:
            workflow.set_current_details(self._card())
            registered = registered or await self._register()
            blocked = self._blocked()
            try:
                await workflow.wait_condition(
                    functools.partial(self._has_to_act, blocked),
                    timeout=self._patience() if blocked or not registered else None,
                    timeout_summary="look for places that were not given back",
                )
            except TimeoutError:
                await self._reconcile()
            if (run := self._state.next_admission()) is not None:
                await self._admit(run)
            elif (question := self._state.next_comparison()) is not None:
                await self._compare(question)
            elif (told := self._state.untold()) is not None:
                await self._tell(*told)
            elif self._due():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(
                    self._state, initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
                )

    def _patience(self) -> timedelta:
        """While somebody is held back it ends on time, however many runs come and go meanwhile: a run that was
        terminated, or has pushed something, would keep others waiting as long as there is something to do."""
        if not self._state.held_back():
            self._looked = workflow.now()
        return max(self._looked + RECONCILE_EVERY - workflow.now(), A_MOMENT)

    def _has_to_act(self, blocked: bool) -> bool:
        """Runs that begin to wait start the clock of the reconciliation, so that ends this wait too."""
        state = self._state
        leases = state.next_comparison() is not None or state.untold() is not None
        return state.next_admission() is not None or leases or self._due() or self._blocked() != blocked

    async def _register(self) -> bool:
        try:
            await workflow.execute_activity_method(
                AdmissionActivities.register_repository,
                self._state.repo,
                summary="ask the fleet for its switches",
                **options.FORGE,
            )
        except exceptions.ActivityError as error:
            return self._try_later(error)
        return True

    def _try_later(self, error: exceptions.ActivityError) -> bool:
        """An entity outlives an outage: it would forget who works and who waits if it failed."""
        if exceptions.is_cancelled_exception(error):
            raise error
        workflow.logger.error("%s tries again later: %s", self._state.repo, watching.error_message(error))
        return False

    def _due(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.is_target_worker_deployment_version_changed()

    def _blocked(self) -> bool:
        """Runs wait although the fleet is not paused: somebody must be holding the places."""
        paused = self._state.settings is None or self._state.settings.paused
        return bool(self._state.waiting) and not paused

    async def _admit(self, run: str) -> None:
        """The place is taken before the run is told, so that the next look already counts it."""
        self._state.admit(run)
        await self._signal(run, wire.ADMITTED, self._state.settings)

    async def _tell(self, run: str, behind: tuple[path_leases.Pair, ...]) -> None:
        self._state.told(run, behind)
        await self._signal(run, wire.ADMISSION_WAITS, path_leases.Wait(behind=behind))

    async def _signal(self, run: str, name: str, message: object) -> None:
        try:
            await workflow.get_external_workflow_handle(run).signal(name, message)
        except exceptions.ApplicationError:  # the run is over: nobody is there to use the place
            self._state.ended(run)

    async def _compare(self, question: path_leases.Question) -> None:
        """Nobody is kept waiting for a forecast that has become needless, or does not come."""
        others = numerals.counted(len(question.others), "other")
        try:
            forecast = await watching.until(
                workflow.start_activity_method(
                    PathLeaseActivities.predict_conflicts,
                    question,
                    summary=f"will {path_leases.name_of(question.run)} collide with {others}",
                    **options.FORECAST,
                ),
                lambda: self._state.next_admission() is not None or not self._state.in_line(question.run),
            )
        except exceptions.ActivityError as error:
            if exceptions.is_cancelled_exception(error):
                raise
            forecast = path_leases.Forecast(missing=_why(error))
        if forecast is None:
            return
        if gaps := forecast.gaps():
            workflow.logger.warning("%s is admitted without a whole forecast: %s", question.run, gaps)
        self._state.compare(question, forecast)

    async def _reconcile(self) -> None:
        self._looked = workflow.now()
        try:
            ended = await workflow.execute_activity_method(
                AdmissionActivities.find_ended_runs,
                tasks.Runs(workflow_ids=(*self._state.running, *self._state.held_back())),
                summary="which of these runs are over",
                **options.FORGE,
            )
        except exceptions.ActivityError as error:
            self._try_later(error)
            return
        for run in ended.workflow_ids:
            self._state.ended(run)
        self._state.after_push(ended.pushed)

    def _card(self) -> str:
        state = self._state
        paused = " (the fleet is paused)" if state.settings and state.settings.paused else ""
        rows = [f"**{state.repo}**: {len(state.running)} of {state.max_in_flight} places taken{paused}"]
        rows += [f"- working: `{run}`{self._unforeseen(run)}" for run in state.running[:50]]
        rows += [f"- waiting: `{w.run}` (priority {w.priority}){self._behind(w.run)}" for w in state.waiting[:50]]
        return "\n".join(rows)

    def _unforeseen(self, run: str) -> str:
        why = self._state.unforeseen.get(run)
        return f" (admitted without a whole forecast of collisions: {why})" if why else ""

    def _behind(self, run: str) -> str:
        behind = self._state.behind(run)
        return f", {path_leases.card(behind, path_leases.name_of(run))}" if behind else ""


def _why(error: exceptions.ActivityError) -> str:
    """The reason in a few words; the log has the rest."""
    cause = error.cause
    if isinstance(cause, exceptions.TimeoutError):
        late = cause.type == exceptions.TimeoutType.SCHEDULE_TO_START
        return "no agent host took the question up" if late else "no agent host answered in time"
    return f"the question failed ({watching.error_type(error)})"

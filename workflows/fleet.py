"""The fleet: its switches, told to every repository, and its agents, budgets and quotas, asked before every turn."""

import contextlib
import functools
from collections.abc import Iterator

from temporalio import common, exceptions, workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities import options
from activities.admission import AdmissionActivities
from activities.pool import PoolActivities
from domain import budget, errors, fleet, pool, refs, roster, tasks, turn_ends, turns, wire
from workflows import fleet_card, watching

LOOK_EVERY = options.MINUTE * 10
"""How long the place and the money of a run that ended without a word (it was terminated) can be kept from others."""


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """The domain's refusal becomes the answer of the update."""
    try:
        yield
    except errors.Refused as refused:
        raise ApplicationError(str(refused), type=refused.wire_type(), non_retryable=True) from None


@workflow.defn(name=wire.FLEET_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class FleetWorkflow:
    """Id `fleet`; started with the first worker, never ends by itself.

    A turn that has to wait is refused by the validator, with the answer in the refusal's details: however many runs ask
    however often, only what changes the state is in the history.
    """

    @workflow.init
    def __init__(self, state: fleet.FleetState) -> None:
        self._state = state
        self._turns = state.pool
        self._ledger_is_down = False
        """Until the next look for lost turns."""

    @workflow.update(name=wire.CONFIGURE, description="Pause, resume, or change the approval mode of new runs")
    def configure(self, change: fleet.Change) -> fleet.FleetState:
        self._state.apply(change, workflow.now())
        return self._state.switches()

    @configure.validator
    def _check(self, change: fleet.Change) -> None:
        with _in_words():
            self._state.check(change)

    @workflow.update(name=wire.TAKE_TURN, description="Give a run a turn of an agent, with its money reserved")
    def take_turn(self, asked: pool.BeginTurn) -> pool.Answer:
        """Nothing else runs between the validator and this, so what it let through is granted, or put in line."""
        return turns.begin(self._turns, asked, workflow.now())

    @take_turn.validator
    def _refuse_or_wait(self, asked: pool.BeginTurn) -> None:
        answer = turns.decide(self._turns, asked, workflow.now())
        if answer.verdict is pool.Verdict.GO or turns.takes_a_place_in_line(self._turns, asked, answer):
            return
        kind = errors.TurnNotYet if answer.verdict is pool.Verdict.WAIT else errors.Refused
        raise ApplicationError(
            answer.sentence, answer, type=kind.wire_type(), category=ApplicationErrorCategory.BENIGN, non_retryable=True
        )

    @workflow.update(name=wire.SETTLE_TURN, description="Give a turn back, and book what it cost")
    def settle_turn(self, settlement: turn_ends.Settlement) -> pool.Settled:
        return turn_ends.settle(self._turns, settlement, workflow.now())

    @settle_turn.validator
    def _is_under_way(self, settlement: turn_ends.Settlement) -> None:
        with _in_words():
            if not turn_ends.is_news(self._turns, settlement):
                raise errors.Refused(f"turn {settlement.ended.turn} is settled already: nothing is left to do")

    @workflow.update(name=wire.TELL_END, description="The end of a turn, from a host that cannot write the ledger")
    def tell_end(self, ended: pool.EndTurn) -> tasks.Nothing:
        turn_ends.tell(self._turns, ended)  # written and settled by `run`
        return tasks.Nothing()

    @tell_end.validator
    def _is_news(self, ended: pool.EndTurn) -> None:
        with _in_words():
            turn_ends.check_tell(self._turns, ended)

    @workflow.update(name=wire.CHANGE_AGENTS, description="Add, edit, pause, resume or remove an agent of the pool")
    def change_agents(self, change: roster.Change) -> roster.Pool:
        turns.change_agents(self._turns, change, workflow.now())
        return self._turns.pool

    @change_agents.validator
    def _check_agents(self, change: roster.Change) -> None:
        with _in_words():
            self._turns.pool.check(change)

    @workflow.update(name=wire.CHANGE_BUDGETS, description="Set budgets, or allow more for a while")
    def change_budgets(self, change: budget.Change) -> budget.Limits:
        turns.change_budgets(self._turns, change, workflow.now())
        return self._turns.book.limits

    @change_budgets.validator
    def _check_budgets(self, change: budget.Change) -> None:
        with _in_words():
            turns.check_budgets(self._turns, change, workflow.now())

    @workflow.signal(name=wire.REPOSITORY_SEEN, description="A repository's entity is up and asks for the switches")
    def repository_seen(self, repo: refs.Repository) -> None:
        self._state.seen(repo)

    @workflow.query(name=wire.SNAPSHOT, description="The switches and the repositories that know them")
    def snapshot(self) -> fleet.FleetState:
        return self._state.switches()

    @workflow.query(name=wire.TURNS, description="The agents, the budgets, the turns under way and those that wait")
    def under_way(self) -> turns.State:
        return self._turns

    @workflow.run
    async def run(self, _: fleet.FleetState) -> None:
        while True:
            workflow.set_current_details(fleet_card.card(self._state, workflow.now()))
            watched = self._turns.has_work()
            try:
                await workflow.wait_condition(
                    functools.partial(self._has_to_act, watched),
                    timeout=LOOK_EVERY if watched else None,
                    timeout_summary="look for turns that were not given back",
                )
            except TimeoutError:
                self._ledger_is_down = False
                await self._look_for_lost_turns()
            if self._state.untold:
                await self._tell(self._state.untold[0])
            elif self._has_to_write():
                await self._write(self._turns.unwritten[0])
            elif self._due():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(
                    self._state, initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
                )

    def _has_to_act(self, watched: bool) -> bool:
        """The first turn after a quiet time starts the clock of the look for lost ones, so it ends this wait too."""
        told = bool(self._state.untold) or self._has_to_write()
        return told or self._due() or (self._turns.has_work() and not watched)

    def _due(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.is_target_worker_deployment_version_changed()

    def _has_to_write(self) -> bool:
        return bool(self._turns.unwritten) and not self._ledger_is_down

    async def _tell(self, repo: refs.Repository) -> None:
        """Taken off the list before the await: a change that arrives meanwhile puts it back, and it is told again."""
        self._state.untold = tuple(r for r in self._state.untold if r != repo)
        try:
            await workflow.get_external_workflow_handle(refs.repository_workflow_id(repo)).signal(
                wire.FLEET_SETTINGS, self._state.settings
            )
        except exceptions.ApplicationError:  # its entity is not running; it will report in when it is
            self._state.repositories = tuple(r for r in self._state.repositories if r != repo)

    async def _look_for_lost_turns(self) -> None:
        """The switches wait meanwhile, so the calls are brief; what fails is looked for again."""
        runs = turn_ends.runs_to_look_at(self._turns, workflow.now(), LOOK_EVERY)
        if not runs:
            return
        try:
            ended = await workflow.execute_activity_method(
                AdmissionActivities.find_ended_runs,
                tasks.Runs(workflow_ids=runs),
                summary="which of these runs are over",
                **options.CLEARANCE,
            )
            turns.leave_line(self._turns, ended.workflow_ids)
            for lost in turn_ends.overdue(self._turns, ended.workflow_ids, workflow.now()):
                await self._end(lost)
        except exceptions.ActivityError as error:
            if exceptions.is_cancelled_exception(error):
                raise
            workflow.logger.error("lost turns are looked for again later: %s", watching.error_message(error))

    async def _write(self, ended: pool.EndTurn) -> None:
        """What is told meanwhile stands behind it in the list: an end never comes before the one that it corrects."""
        try:
            await self._end(ended)
        except exceptions.ActivityError as error:
            if exceptions.is_cancelled_exception(error):
                raise
            self._ledger_is_down = True
            workflow.logger.error("the end of %s is written later: %s", ended.turn, watching.error_message(error))
        else:
            turn_ends.written(self._turns, ended)

    async def _end(self, ended: pool.EndTurn) -> None:
        await workflow.execute_activity_method(
            PoolActivities.end_turn, ended, summary=f"settle {ended.turn}"[:200], **options.CLEARANCE
        )
        if ended.outcome == pool.LOST:
            turn_ends.after_lost(self._turns, ended)

"""Ask the fleet for a turn, and give it back with its line in the cost ledger.

Running either twice is safe: the fleet knows a turn by its name and a reservation by its key, the ledger has one line a
reservation.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from pydantic import BaseModel
from temporalio import activity, client, common, service
from temporalio.exceptions import ApplicationError

from activities import admission
from domain import errors, fleet, ledger, pool, refs, turn_ends, wire
from store.engine import Store

_SLOT: Final = timedelta(seconds=10)
"""Less than `waiting_line.OWN_TURN_SECONDS`: who is next in line finds the free place while it is kept."""
_BUDGET: Final = timedelta(seconds=30)
_QUOTA: Final = timedelta(minutes=4)
"""How often an end that is known is asked for nevertheless: a person may have ended it."""
_PAUSED: Final = timedelta(seconds=20)
_NO_FLEET: Final = timedelta(seconds=2)

_Answer = TypeVar("_Answer", bound=BaseModel)


@dataclass(frozen=True)
class PoolActivities:
    temporal: client.Client
    store: Store

    @activity.defn(name=wire.BEGIN_TURN)
    async def begin_turn(self, asked: pool.BeginTurn) -> pool.Answer:
        """A turn, or the sentence why there will be none. Running twice is safe: while the turn is under way, asking
        for it again is answered with the same grant.

        Raises:
            errors.TurnNotYet: it has to wait; the retry comes when that may have changed, and adds no event.
        """
        if asked.estimate_usd is None:
            costs = await self.store.ledger.recent_costs(asked.repo, asked.type, ledger.LOOKED_AT)
            asked = asked.model_copy(update={"estimate_usd": ledger.estimate(costs)})
        return await take(self.temporal, asked)

    @activity.defn(name=wire.END_TURN)
    async def end_turn(self, ended: pool.EndTurn) -> pool.Settled:
        """Write the turn's line, then free its place and book its cost. Running twice is safe: the line and the
        reservation are found by their key. A turn that never began has no line, also where it was taken for lost."""
        booked = turn_ends.Settlement(ended=ended, cost_usd=0.0)
        if ended.began:
            line = await self.store.ledger.record(ended, datetime.now(UTC))
            booked = turn_ends.Settlement(ended=ended, cost_usd=line.usd, covers_usd=line.covers_usd)
        else:
            await self.store.ledger.withdraw_lost(ended.turn)
        try:
            return await update(self.temporal, wire.SETTLE_TURN, booked, pool.Settled)
        except client.WorkflowUpdateFailedError as refused:
            if _type(refused) != errors.Refused.wire_type():
                raise
            return pool.Settled(turn=ended.turn, cost_usd=booked.cost_usd or 0.0, known=booked.cost_usd is not None)


async def take(temporal: client.Client, asked: pool.BeginTurn) -> pool.Answer:
    """A turn, or the sentence why there will be none.

    Raises:
        errors.TurnNotYet: it has to wait; not before `retry_after`.
    """
    try:
        answer = await update(temporal, wire.TAKE_TURN, asked, pool.Answer)
    except client.WorkflowUpdateFailedError as refused:
        answer = _answer_in(refused)
    if answer.verdict is pool.Verdict.WAIT:
        raise errors.TurnNotYet(answer.sentence, retry_after=_ask_again(answer, datetime.now(UTC)))
    return answer


async def update(temporal: client.Client, name: str, argument: BaseModel, result: type[_Answer]) -> _Answer:
    """One update of the fleet, under an id of its own: the fleet knows turns and reservations by their names, also
    after it has continued as new, and an attempt that asks again must not be told what was true before."""
    handle = temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    try:
        answer: _Answer = await handle.execute_update(name, argument, result_type=result)
    except service.RPCError as error:
        if error.status is not service.RPCStatusCode.NOT_FOUND:
            raise
        await start_fleet(temporal)
        raise errors.TurnNotYet("the fleet was not running and is started now", retry_after=_NO_FLEET) from error
    return answer


async def start_fleet(temporal: client.Client) -> None:
    """Start the fleet's workflow unless it runs."""
    await temporal.start_workflow(
        wire.FLEET_WORKFLOW,
        fleet.FleetState(),
        id=refs.FLEET_WORKFLOW_ID,
        task_queue=wire.CONTROL_QUEUE,
        id_conflict_policy=common.WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary="Fleet: switches, agents, budgets",
        search_attributes=admission.attributes("fleet", None),
    )


def _answer_in(refused: client.WorkflowUpdateFailedError) -> pool.Answer:
    """The pool's answer in a refusal's details; raises the refusal when it is of another kind."""
    cause = refused.cause
    known = {errors.TurnNotYet.wire_type(), errors.Refused.wire_type()}
    if not isinstance(cause, ApplicationError) or cause.type not in known or not cause.details:
        raise refused
    return pool.Answer.model_validate(cause.details[0])


def _type(refused: client.WorkflowUpdateFailedError) -> str:
    return (refused.cause.type or "") if isinstance(refused.cause, ApplicationError) else ""


def _ask_again(answer: pool.Answer, now: datetime) -> timedelta:
    """When a turn that waits asks again; never all of them at the same moment."""
    every = {
        pool.WaitReason.SLOT: _SLOT,
        pool.WaitReason.BUDGET: _BUDGET,
        pool.WaitReason.QUOTA: _QUOTA,
        pool.WaitReason.PAUSED: _PAUSED,
    }[answer.reason or pool.WaitReason.SLOT]
    left = answer.until - now if answer.until is not None else every
    wait = min(max(left, timedelta(seconds=1)), every)
    return wait + random.uniform(0.0, 0.2) * wait

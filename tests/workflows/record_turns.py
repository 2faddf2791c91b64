"""Record histories since generation 2 for the replay test: `python -m tests.workflows.record_turns`.

As with `tests.workflows.record`, a recording that exists is never overwritten, and new scenarios add files.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

from temporalio.testing import WorkflowEnvironment

from domain import agent, errors, implement, pool, refs, roster, run, turns, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows import installation, record
from tests.workflows.installation import Installation
from tests.workflows.record import Recorded
from tests.workflows.runs import Run, eventually
from tests.workflows.world import Turn, World

_ASKED: Final = agent.Question(id="toolu_1", tool="Bash", text="git push --force")


def _of(started: Run) -> Recorded:
    return {"issue": started.issue.workflow_id, "implement": started.child.id}


async def _started(fettle: Installation, world: World) -> Run:
    return await fettle.start(world.issue(1, "Fix the totals"))


async def reserved_turns(fettle: Installation) -> Recorded:
    """A turn that ends at its limit, and the one that goes on."""
    world = fettle.world("totals")
    world.policy = RepositoryPolicy(verify_command="make test")
    world.turns[1] = deque([Turn(limited=True, cost_usd=0.2), Turn(cost_usd=0.5)])
    started = await _started(fettle, world)
    await started.ended()
    return {**_of(started), "fleet": refs.FLEET_WORKFLOW_ID}


async def action_answered(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.turns[1] = deque([Turn(files={}, asks=_ASKED)])
    started = await _started(fettle, world)
    await started.until(lambda s: s.hold is not None and s.hold.kind is run.HoldKind.ACTION_APPROVAL)
    await started.update(wire.DECIDE, run.Decision(by="ann", action=_ASKED.id))
    await started.ended()
    return _of(started)


async def quota_waited_for(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.backend = "claude"
    world.turns[1] = deque([Turn(error=errors.QuotaExhausted("come back later", retry_after=timedelta(seconds=3)))])
    started = await _started(fettle, world)
    await started.ended()
    return _of(started)


async def taken_over(fettle: Installation) -> Recorded:
    """Without waiting for the turn, and again at the gate."""
    world = fettle.world("totals")
    world.mode = ApprovalMode.REVIEW_MERGE
    stop = world.stop(wire.RUN_AGENT)
    started = await _started(fettle, world)
    await stop.reached.wait()
    await started.update(wire.TAKE_OVER, run.TakeoverRequest(by="ann", now=True))
    await _theirs(started)
    await started.update(wire.HAND_BACK, implement.Handback(by="ann", note="nothing yet"))
    await started.at_gate()
    first = started.child
    execution = (await first.describe()).run_id
    await started.update(wire.TAKE_OVER, run.TakeoverRequest(by="ann"))
    await eventually(first.describe, lambda d: d.run_id != execution)
    await _theirs(started)
    await started.update(wire.HAND_BACK, implement.Handback(by="ann"))
    await started.handle.cancel(reason="cancelled by ann: not needed")
    await started.cancelled()
    return _of(started)


async def handed_over(fettle: Installation) -> Recorded:
    """What the agent has left is noted before a person gets the worktree (runs of generation 3)."""
    return await taken_over(fettle)


async def lined_up_at_once(fettle: Installation) -> Recorded:
    """The queue is asked within the workflow task that an approval made (generation 4)."""
    world = fettle.world("totals")
    world.mode = ApprovalMode.REVIEW_MERGE
    started = await _started(fettle, world)
    await started.approve(await started.at_gate())
    await started.ended()
    return _of(started)


async def lined_up_later(fettle: Installation) -> Recorded:
    """The queue could not be told at once (generation 4)."""
    world = fettle.world("totals")
    world.before[wire.REQUEST_MERGE] = deque([errors.ForgeUnavailable("try again")])
    started = await _started(fettle, world)
    await started.ended()
    return _of(started)


async def host_freed_for_others(fettle: Installation) -> Recorded:
    """The next turn is waited for without a host, and so is the end of a hold (generation 5)."""
    started, world = await _waiting(fettle)
    again = world.stop(wire.RUN_AGENT)
    await _pool(fettle, roster.Kind.RESUME)
    await again.reached.wait()
    await started.hold()
    again.open.set()
    await world.called(wire.RELEASE_HOST, 2)
    await started.release()
    await started.ended()
    return _of(started)


async def taken_while_it_waits(fettle: Installation) -> Recorded:
    """A person does not wait for the pool (generation 5)."""
    started, _ = await _waiting(fettle)
    await started.update(wire.TAKE_OVER, run.TakeoverRequest(by="ann"))
    await _theirs(started)
    await started.update(wire.HAND_BACK, implement.Handback(by="ann"))
    await _pool(fettle, roster.Kind.RESUME)
    await started.ended()
    return _of(started)


async def _waiting(fettle: Installation) -> tuple[Run, World]:
    """For its second turn, in a pool that is paused."""
    world = fettle.world("totals")
    world.turns[1] = deque([Turn(limited=True), Turn()])
    stop = world.stop(wire.RUN_AGENT)
    started = await _started(fettle, world)
    await stop.reached.wait()
    await _pool(fettle, roster.Kind.PAUSE)
    stop.open.set()
    await world.called(wire.RELEASE_HOST)
    return started, world


async def _pool(fettle: Installation, kind: roster.Kind) -> None:
    fleet = fettle.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    await fleet.execute_update(wire.CHANGE_AGENTS, roster.Change(by="ann", kind=kind, name="dev-default"))


async def judgement_paid(fettle: Installation) -> Recorded:
    """The fleet writes the end that an agent host has told it, and books it."""
    world = fettle.world("totals")
    await (await _started(fettle, world)).ended()
    fleet = fettle.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    asked = pool.BeginTurn(
        run="issue/acme/judged/1", repo=world.repo, issue=1, type="review", judgement=True, backend="claude"
    )
    granted = await fleet.execute_update(wire.TAKE_TURN, asked, result_type=pool.Answer)
    ended = pool.EndTurn.failed(asked, granted, error_type=agent.Outcome.FINISHED, session_cost_usd=0.3)
    await fleet.execute_update(wire.TELL_END, ended)

    async def look() -> turns.State:
        state: turns.State = await fleet.query(wire.TURNS, result_type=turns.State)
        return state

    await eventually(look, lambda s: not s.unwritten and not s.leases)
    return {"fleet": refs.FLEET_WORKFLOW_ID}


async def _theirs(started: Run) -> None:
    async def look() -> implement.State:
        state: implement.State = await started.child.query(wire.SNAPSHOT, result_type=implement.State)
        return state

    await eventually(look, lambda s: s.theirs)


SCENARIOS: Final[Mapping[str, Callable[[Installation], Awaitable[Recorded]]]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        reserved_turns,
        action_answered,
        quota_waited_for,
        taken_over,
        judgement_paid,
        handed_over,
        lined_up_at_once,
        lined_up_later,
        host_freed_for_others,
        taken_while_it_waits,
    )
}


async def main() -> None:
    async with (
        await WorkflowEnvironment.start_local(**installation.server()) as env,
        installation.installed(await installation.connect(env)) as fettle,
    ):
        for name, scenario in SCENARIOS.items():
            for path in await record.record(fettle.temporal, name, await scenario(fettle)):
                sys.stdout.write(f"{path.relative_to(record.FOLDER)}\n")


if __name__ == "__main__":
    asyncio.run(main())

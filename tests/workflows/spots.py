"""Places where a run can be caught: one or more in every phase, with the call that would come next."""

from dataclasses import dataclass
from typing import Final

from domain import run, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows.installation import Installation
from tests.workflows.runs import Run
from tests.workflows.world import GREEN, PENDING, Stop


@dataclass(frozen=True)
class Spot:
    """`stop` is an activity that is caught at its door; `waits` a call that tells that a wait has begun."""

    phase: run.Phase
    next_call: str
    stop: str = ""
    waits: str = ""
    mode: ApprovalMode = ApprovalMode.FULL_AUTO
    ci: str = GREEN
    body: str = ""


SPOTS: Final = {
    "open": Spot(run.Phase.RECEIVED, wire.CLAIM_ISSUE, stop=wire.OPEN_RUN),
    "claim": Spot(run.Phase.TRIAGED, wire.CLAIM_HOST, stop=wire.CLAIM_ISSUE),
    "dependencies": Spot(run.Phase.BLOCKED, wire.CLAIM_HOST, waits=wire.WATCH_DEPENDENCIES, body="Depends on #2"),
    "dispatch": Spot(run.Phase.AWAITING_DISPATCH, wire.CLAIM_HOST, mode=ApprovalMode.REVIEW_ALL),
    "host": Spot(run.Phase.IMPLEMENTING, wire.PREPARE_WORKTREE, stop=wire.CLAIM_HOST),
    "worktree": Spot(run.Phase.IMPLEMENTING, wire.RUN_AGENT, stop=wire.PREPARE_WORKTREE),
    "turn": Spot(run.Phase.IMPLEMENTING, wire.INTEGRATE_WORK, stop=wire.RUN_AGENT),
    "push": Spot(run.Phase.IMPLEMENTING, wire.VERIFY_COMMIT, stop=wire.INTEGRATE_WORK),
    "verify": Spot(run.Phase.IMPLEMENTING, wire.PUBLISH_PULL_REQUEST, stop=wire.VERIFY_COMMIT),
    "publish": Spot(run.Phase.PUBLISHING, wire.POST_REVIEW, stop=wire.PUBLISH_PULL_REQUEST),
    "review": Spot(run.Phase.REVIEWING, wire.POLL_CHECKS, stop=wire.POST_REVIEW),
    "ci": Spot(run.Phase.AWAITING_CI, wire.MARK_READY, waits=wire.POLL_CHECKS, ci=PENDING),
    "ready": Spot(run.Phase.AWAITING_CI, wire.REQUEST_MERGE, stop=wire.MARK_READY),
    "approval": Spot(
        run.Phase.AWAITING_APPROVAL, wire.REQUEST_MERGE, waits=wire.WATCH_GATE, mode=ApprovalMode.REVIEW_MERGE
    ),
    "queue": Spot(run.Phase.QUEUED, wire.MERGE_CANDIDATE, stop=wire.BUILD_CANDIDATE),
}


@dataclass
class Caught:
    """A run at its spot."""

    run: Run
    spot: Spot
    stop: Stop | None

    def let_go(self) -> None:
        """What the run waits for comes, if it is not a person."""
        world = self.run.world
        world.ci = GREEN
        if 2 in world.forge.issues:
            world.forge.issues[2].open = False
        if self.stop:
            self.stop.open.set()


async def catch(fettle: Installation, spot: Spot) -> Caught:
    world = fettle.world()
    world.mode, world.ci = spot.mode, spot.ci
    world.policy = RepositoryPolicy(verify_command="make test")
    if spot.body:
        world.issue(2, labels=())
    stop = world.stop(spot.stop) if spot.stop else None
    started = await fettle.start(world.issue(1, body=spot.body))
    if stop:
        await stop.reached.wait()
    elif spot.waits:
        await world.called(spot.waits)
    else:
        await started.until(lambda s: s.hold is not None)
    await started.until(lambda s: s.phase is spot.phase)
    return Caught(started, spot, stop)


async def finish(caught: Caught) -> run.State:
    """To the end, with the approvals that the mode asks for."""
    started = caught.run
    if caught.spot.mode is ApprovalMode.REVIEW_ALL:
        await started.until(lambda s: s.hold and s.hold.kind is run.HoldKind.DISPATCH_APPROVAL)
        await started.approve()
    if caught.spot.mode is not ApprovalMode.FULL_AUTO:
        await started.approve(await started.at_gate())
    return await started.ended()

"""An issue that meets no trouble, in each approval mode, and what it costs."""

import pytest

from domain import run, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows.installation import Installation
from tests.workflows.world import World

FIRST = ["received", "triaged"]
WORK = ["implementing", "publishing", "reviewing", "awaiting_ci"]
LAST = ["queued", "merging", "done"]


@pytest.mark.parametrize(
    ("mode", "phases"),
    [
        (ApprovalMode.FULL_AUTO, [*FIRST, "awaiting_dispatch", *WORK, *LAST]),
        (ApprovalMode.REVIEW_MERGE, [*FIRST, "awaiting_dispatch", *WORK, "awaiting_approval", *LAST]),
        (ApprovalMode.REVIEW_ALL, [*FIRST, "awaiting_dispatch", *WORK, "awaiting_approval", *LAST]),
    ],
)
async def test_an_issue_becomes_one_merge(
    fettle: Installation, world: World, mode: ApprovalMode, phases: list[str]
) -> None:
    """Each effect happens once, the phases come in order, and people are asked exactly where the mode says."""
    world.mode = mode
    world.policy = RepositoryPolicy(verify_command="make test")
    issue = world.issue(1, "Fix the totals")
    started = await fettle.start(issue)
    if mode is ApprovalMode.REVIEW_ALL:
        await started.until(lambda s: s.hold is not None and s.hold.kind is run.HoldKind.DISPATCH_APPROVAL)
        assert world.count(wire.RUN_AGENT) == 0
        await started.approve()
    if mode is not ApprovalMode.FULL_AUTO:
        head = await started.at_gate()
        assert world.effect_counts()["merged"] == 0
        await started.approve(head)
    ended = await started.ended()
    assert [m.phase.value for m in ended.marks] == phases
    assert ended.merge.merged_sha == world.forge.branches["main"]
    once = ["claimed", "pushed", "pull opened", "pull published", "review posted", "marked ready", "merged"]
    assert world.effect_counts() == dict.fromkeys([*once, "closed as done"], 1)
    assert world.forge.issues[1].labels == {wire.LABEL_DONE}
    assert not world.forge.issues[1].open
    assert started.handle.id not in {lease for h in world.hosts.values() for lease in (*h.leases, *h.worktrees)}


@pytest.mark.parametrize("mode", [ApprovalMode.FULL_AUTO, ApprovalMode.REVIEW_MERGE])
async def test_a_whole_run_with_its_child_stays_small(fettle: Installation, world: World, mode: ApprovalMode) -> None:
    """A run that is parked is replayed when it wakes: its history must stay short. How many workflow tasks share one
    wake-up is a matter of timing, and each more is three events."""
    world.mode = mode
    world.policy = RepositoryPolicy(verify_command="make test")
    started = await fettle.start(world.issue(1))
    if mode is not ApprovalMode.FULL_AUTO:
        await started.approve(await started.at_gate())
    await started.ended()
    own, child = await started.events(), await started.events(child=True)
    assert len(child) > 30
    assert len(own) + len(child) <= 150

"""Waiting is free: no event, no agent and no judge while a run waits, and webhooks only wake it."""

import asyncio
from pathlib import Path

from domain import events, forge, refs, run, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from store.engine import open_store
from tests.workflows.installation import Installation
from tests.workflows.runs import Run
from tests.workflows.world import GREEN, NONE, PENDING, RED, World
from web.waker import Waker


async def events_of_ci(started: Run) -> list[int]:
    """Ids of the events from the first look at CI to the step after it."""
    history = await started.events()
    names = [e.activity_task_scheduled_event_attributes.activity_type.name for e in history]
    first = names.index(wire.POLL_CHECKS)
    after = next(i for i, name in enumerate(names) if i > first and name)
    return list(range(first, after))


async def test_a_wait_for_ci_costs_11_events_however_long_it_is(fettle: Installation, world: World) -> None:
    world.ci, world.ci_poll_seconds = PENDING, 0.1
    started = await fettle.start(world.issue(1))
    await world.called(wire.POLL_CHECKS, 2)
    grown = len(await started.events())
    await world.called(wire.POLL_CHECKS, 7)
    assert len(await started.events()) == grown
    world.ci = GREEN
    await started.ended()
    assert world.count(wire.POLL_CHECKS) >= 8
    assert len(await events_of_ci(started)) <= 11


async def _is_not_asked(issue: refs.Issue) -> forge.Issue:
    raise AssertionError(f"an event about CI made the waker read {issue}")


async def test_a_webhook_makes_the_poll_look_at_once_and_adds_no_event(
    fettle: Installation, world: World, tmp_path: Path
) -> None:
    """The waker of the web process itself, against an hourly poll."""
    world.ci, world.ci_poll_seconds = PENDING, 3600
    issue = world.issue(1)
    started = await fettle.start(issue)
    store = await open_store(f"sqlite:///{tmp_path}/store.db")
    try:
        waker = Waker(fettle.temporal, store.repositories, read_issue=_is_not_asked)
        await world.called(wire.POLL_CHECKS, 1)
        branch = (await started.state()).branch
        event = events.ForgeEvent(kind=events.Kind.CI_CHANGED, repo=world.repo, branch=branch)
        for looks in (2, 3):
            await waker.wake(event)
            await world.called(wire.POLL_CHECKS, looks)
        world.ci = GREEN
        await waker.wake(event)
        await started.ended()
    finally:
        await store.aclose()
    assert len(await events_of_ci(started)) <= 11


async def test_nobody_is_asked_anything_while_a_person_thinks(fettle: Installation, world: World) -> None:
    world.mode, world.judge = ApprovalMode.REVIEW_MERGE, "model"
    started = await fettle.start(world.issue(1))
    await started.at_gate()
    await world.called(wire.WATCH_GATE, 2)
    before, asked = len(await started.events()), [c for c in world.calls if c[0] != wire.WATCH_GATE]
    looked = world.count(wire.WATCH_GATE)
    await world.called(wire.WATCH_GATE, looked + 4)
    assert len(await started.events()) == before
    assert [c for c in world.calls if c[0] != wire.WATCH_GATE] == asked


async def test_a_push_seen_by_the_gates_own_poll_voids_review_and_ci(fettle: Installation, world: World) -> None:
    """No webhook at all: only latency suffers."""
    world.mode = ApprovalMode.REVIEW_MERGE
    started = await fettle.start(world.issue(1))
    first = await started.at_gate()
    pushed = world.forge.push((await started.state()).branch, {"by_hand.py": "1"})
    await started.until(lambda s: s.change.head_sha == pushed and s.hold is not None)
    state = await started.state()
    assert state.change.review.head_sha == state.change.ci.head_sha == pushed
    assert state.change.approval is None
    assert world.forge.pulls[100].reviews == [first, pushed]
    await started.approve(pushed)
    assert (await started.ended()).phase is run.Phase.DONE


async def test_three_ways_of_no_green_have_three_ends(fettle: Installation) -> None:
    """Red, no CI at all, and a CI that never reports are told apart, in the status comment too."""
    told = {}
    for ci, policy in (
        (RED, {"budgets": {"ci": 0}}),
        (NONE, {"no_checks": "fail", "check_registration_seconds": 0}),
        (PENDING, {"ci_timeout_seconds": 1}),
    ):
        world = fettle.world()
        world.ci, world.policy = ci, RepositoryPolicy.model_validate(policy)
        started = await fettle.start(world.issue(1))
        ended = await started.ended()
        assert ended.phase is run.Phase.FAILED
        assert ended.ending is not None
        assert ended.ending.failure_class == "ci"
        assert ended.ending.reason in world.forge.issues[1].status
        assert world.forge.issues[1].labels == {wire.LABEL_FAILED}
        assert world.effect_counts()["merged"] == 0
        told[ci] = ended.ending.reason
    assert "CI is red on" in told[RED]
    assert "no CI check is configured" in told[NONE]
    assert "CI never reported" in told[PENDING]


async def test_a_repository_without_ci_asks_a_person_or_merges_as_its_policy_says(fettle: Installation) -> None:
    held = fettle.world()
    held.ci, held.policy = NONE, RepositoryPolicy(check_registration_seconds=0)
    asked = await fettle.start(held.issue(1))
    await asked.approve(await asked.at_gate())
    assert (await asked.ended()).phase is run.Phase.DONE
    free = fettle.world()
    free.ci = NONE
    free.policy = RepositoryPolicy.model_validate({"no_checks": "merge", "check_registration_seconds": 0})
    merged = await fettle.start(free.issue(1))
    assert (await merged.ended()).phase is run.Phase.DONE
    assert free.count(wire.WATCH_GATE) == 0


async def test_a_repaired_head_without_ci_is_known_to_have_none(fettle: Installation, world: World) -> None:
    """The registration time of a head counts from its push also when no pull request is opened for it."""
    world.ci, world.judge = NONE, "model"
    world.policy = RepositoryPolicy.model_validate({"no_checks": "merge", "check_registration_seconds": 0.2})
    world.verdicts.append(("it deletes the database",))
    started = await fettle.start(world.issue(1))
    assert (await started.ended()).phase is run.Phase.DONE


async def test_closing_the_issue_or_the_pull_request_ends_the_run(fettle: Installation) -> None:
    for what in ("issue", "pull"):
        world = fettle.world()
        world.mode = ApprovalMode.REVIEW_MERGE
        started = await fettle.start(world.issue(1))
        await started.at_gate()
        if what == "issue":
            world.forge.issues[1].open = False
            await started.handle.signal(wire.ISSUE_CHANGED)
        else:
            world.forge.pulls[100].open = False
        ended = await started.ended()
        assert ended.phase is run.Phase.CANCELLED
        assert f"somebody closed the {what}" in ended.ending.reason
        assert world.effect_counts()["closed as cancelled"] == 1


async def test_a_merge_by_hand_is_told_as_done(fettle: Installation, world: World) -> None:
    """The forge closes the issue with the merge: whichever the run hears of first, the change is in."""
    world.mode, world.gate_poll_seconds = ApprovalMode.REVIEW_MERGE, 3600
    started = await fettle.start(world.issue(1))
    await started.at_gate()
    pull = world.forge.pulls[100]
    pull.open, pull.merged, pull.merge_sha = False, True, world.forge.head(pull)
    world.forge.issues[1].open = False
    await started.handle.signal(wire.ISSUE_CHANGED)
    assert (await asyncio.wait_for(started.ended(), 20)).phase is run.Phase.DONE
    assert world.forge.issues[1].labels == {wire.LABEL_DONE}

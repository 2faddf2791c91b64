"""Runs that will probably change the same files work one after the other; who waits for whom is told."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from domain import explain, refs, run, surroundings, wire
from domain.policy import RepositoryPolicy
from tests.workflows import installation
from tests.workflows.installation import Installation
from tests.workflows.runs import Run
from tests.workflows.world import Stop, World


async def at_work(fettle: Installation, world: World, number: int = 1) -> tuple[Run, Stop]:
    """A run whose agent works until the stop is opened."""
    stop = world.stop(wire.RUN_AGENT)
    started = await fettle.start(world.issue(number))
    await stop.reached.wait()
    return started, stop


async def waits(started: Run) -> run.State:
    return await started.until(lambda s: s.waits_for_files)


async def explained(started: Run) -> explain.Explanation:
    around = surroundings.Surroundings(repository=await started.place())
    return explain.explain(await started.state(), datetime.now(UTC), around)


async def card(fettle: Installation, workflow_id: str) -> str:
    metadata = await fettle.temporal.get_workflow_handle(workflow_id).query("__temporal_workflow_metadata")
    return str(metadata.current_details)


def claims(world: World) -> list[str]:
    return [about.rpartition("#")[2] for name, about in world.calls if name == wire.CLAIM_HOST]


async def test_a_run_that_probably_collides_waits_for_the_other_ones_end_and_says_so(
    fettle: Installation, world: World
) -> None:
    world.collisions[1, 2] = 0.46
    first, stop = await at_work(fettle, world)
    second = await fettle.start(world.issue(2))
    state = await waits(second)
    found = await explained(second)
    assert found.waits_for == f"{first.issue}, which is likely (46 %) to change cart.py too"
    assert found.ends_when == f"that run ends, or somebody lets it go on beside: fettle release {second.issue}"
    assert found.next_command == f"fettle explain {first.issue}"
    assert state.hold is None
    words = (
        f"waits for {first.issue}, which is likely (46 %) to change `cart.py` too: until that ends, or `fettle release"
    )
    for workflow_id in (second.issue.workflow_id, refs.repository_workflow_id(world.repo)):
        assert words in await card(fettle, workflow_id)
    described = await second.handle.describe()
    assert described.search_attributes[wire.SA_HOLD] == ["conflict"]
    assert described.search_attributes[wire.SA_NEEDS_HUMAN] == [False]
    stop.open.set()
    assert [(await r.ended()).phase for r in (first, second)] == [run.Phase.DONE] * 2
    closed = world.calls.index((wire.CLOSE_RUN, str(first.issue)))
    assert world.calls.index((wire.CLAIM_HOST, str(second.issue))) > closed
    assert wire.SA_HOLD not in (await second.handle.describe()).search_attributes
    assert world.count(wire.PREDICT_CONFLICTS) == 1


async def test_runs_that_do_not_collide_work_together(fettle: Installation, world: World) -> None:
    world.collisions[1, 2] = RepositoryPolicy().max_collision
    first, stop = await at_work(fettle, world)
    second = await fettle.start(world.issue(2))
    assert (await second.ended()).phase is run.Phase.DONE
    assert (await first.state()).phase is run.Phase.IMPLEMENTING
    stop.open.set()
    await first.ended()


@pytest.mark.slow
async def test_who_collides_with_nobody_passes_and_who_would_pass_into_a_collision_waits_too(
    fettle: Installation, world: World
) -> None:
    """Otherwise those that pass could hold the one that waits back for ever."""
    world.collisions = {(1, 2): 0.5, (2, 4): 0.6}
    first, stop = await at_work(fettle, world)
    second = await fettle.start(world.issue(2))
    await waits(second)
    third = await fettle.start(world.issue(3))
    assert (await third.ended()).phase is run.Phase.DONE
    fourth = await fettle.start(world.issue(4))
    state = await waits(fourth)
    assert [pair.run for pair in state.behind] == [second.issue.workflow_id]
    stop.open.set()
    await asyncio.gather(first.ended(), second.ended(), fourth.ended())
    assert claims(world) == ["1", "3", "2", "4"]
    pairs = [(q.run[-1], other[-1]) for q in world.asked for other in q.others]
    assert sorted(pairs) == [("2", "1"), ("3", "1"), ("3", "2"), ("4", "1"), ("4", "2")]


async def test_a_person_lets_a_run_go_on_beside_the_other(fettle: Installation, world: World) -> None:
    world.collisions[1, 2] = 0.5
    first, stop = await at_work(fettle, world)
    second = await fettle.start(world.issue(2))
    await waits(second)
    assert (await second.release()).leases_waived
    assert (await second.ended()).phase is run.Phase.DONE
    assert (await first.state()).phase is run.Phase.IMPLEMENTING
    stop.open.set()
    await first.ended()


async def test_a_release_counts_that_comes_while_the_run_asks_for_its_place(fettle: Installation, world: World) -> None:
    world.collisions[1, 2] = 0.5
    first, stop = await at_work(fettle, world)
    second = await fettle.start(world.issue(2))
    await waits(second)
    await second.update(wire.EDIT, run.Edit(by="ann", priority=2))
    await second.release()
    assert (await second.ended()).phase is run.Phase.DONE
    await second.place_is_free()
    stop.open.set()
    await first.ended()


async def test_a_run_that_is_cancelled_before_it_asks_again_leaves_the_line_at_once(
    fettle: Installation, world: World
) -> None:
    """It lines up by its new priority when its hold is lifted, and until then it has its old place."""
    world.collisions = {(1, 2): 0.5, (2, 3): 0.5}
    first, stop = await at_work(fettle, world)
    second = await fettle.start(world.issue(2))
    await waits(second)
    third = await fettle.start(world.issue(3))
    await waits(third)
    await second.hold()
    await second.update(wire.EDIT, run.Edit(by="ann", priority=4))
    await second.handle.cancel(reason="not needed")
    await second.cancelled()
    assert (await third.ended()).phase is run.Phase.DONE
    stop.open.set()
    await first.ended()


async def test_a_run_that_is_started_anew_is_told_for_whose_files_it_waits(fettle: Installation, world: World) -> None:
    world.collisions[1, 2] = 0.5
    first, stop = await at_work(fettle, world)
    lost = await fettle.start(world.issue(2))
    await waits(lost)
    await lost.handle.terminate("by a test")
    anew = await fettle.start(lost.issue)
    assert (await waits(anew)).behind[0].run == first.issue.workflow_id
    assert (await anew.release()).leases_waived
    assert (await anew.ended()).phase is run.Phase.DONE
    stop.open.set()
    await first.ended()


@pytest.mark.slow  # what it adds to the tests of the domain is the wiring alone
async def test_what_is_most_urgent_waits_for_nobodys_files(fettle: Installation, world: World) -> None:
    world.collisions = {(1, 2): 0.9, (1, 3): 0.9}
    first, stop = await at_work(fettle, world)
    urgent = await fettle.start(world.issue(2, labels=("fettle", "priority-1")))
    assert (await urgent.ended()).phase is run.Phase.DONE
    usual = await fettle.start(world.issue(3))
    await waits(usual)
    await usual.update(wire.EDIT, run.Edit(by="ann", priority=1))
    assert (await usual.ended()).phase is run.Phase.DONE
    stop.open.set()
    await first.ended()
    assert [q.run for q in world.asked] == [usual.issue.workflow_id]


@pytest.mark.slow  # what it adds to the tests of the domain is the wiring alone
async def test_a_policy_without_leases_asks_nobody(fettle: Installation, world: World) -> None:
    world.policy = RepositoryPolicy(max_collision=1)
    world.collisions[1, 2] = 1
    first, stop = await at_work(fettle, world)
    assert (await (await fettle.start(world.issue(2))).ended()).phase is run.Phase.DONE
    stop.open.set()
    await first.ended()
    assert world.count(wire.PREDICT_CONFLICTS) == 0


async def test_without_a_forecast_a_run_is_admitted_and_the_card_says_why(fettle: Installation, world: World) -> None:
    world.before[wire.PREDICT_CONFLICTS] = deque([OSError("no disk"), OSError("no disk")])
    world.collisions[1, 2] = 1
    first, stop = await at_work(fettle, world)
    second, other = await at_work(fettle, world, 2)
    shown = await card(fettle, refs.repository_workflow_id(world.repo))
    why = "(admitted without a whole forecast of collisions: the question failed (OSError))"
    assert f"working: `{second.issue.workflow_id}` {why}" in shown
    for each in (stop, other):
        each.open.set()
    await asyncio.gather(first.ended(), second.ended())


async def test_a_forecast_that_became_needless_keeps_nobody_waiting(fettle: Installation, world: World) -> None:
    """The run in flight ends while the question is being answered."""
    first, stop = await at_work(fettle, world)
    asked = world.stop(wire.PREDICT_CONFLICTS)
    second = await fettle.start(world.issue(2))
    await asked.reached.wait()
    assert (await explained(second)).waits_for == f"a forecast whether its work collides with {first.issue}"
    third = await fettle.start(world.issue(3))
    await third.until(lambda s: s.admission_asked)
    behind = f"its turn in line, behind {second.issue} and a forecast whether that work collides with {first.issue}"
    assert (await explained(third)).waits_for == behind
    stop.open.set()
    await first.ended()
    assert [(await r.ended()).phase for r in (second, third)] == [run.Phase.DONE] * 2
    assert not asked.open.is_set()


@pytest.mark.slow  # what it adds to the tests of the domain is the wiring alone
async def test_a_run_that_is_cancelled_while_it_waits_leaves_the_line(fettle: Installation, world: World) -> None:
    world.collisions = {(1, 2): 0.5, (2, 3): 0.5}
    first, stop = await at_work(fettle, world)
    second = await fettle.start(world.issue(2))
    await waits(second)
    third = await fettle.start(world.issue(3))
    await waits(third)
    await second.handle.cancel(reason="not needed")
    await second.cancelled()
    assert wire.SA_HOLD not in (await second.handle.describe()).search_attributes
    assert (await third.ended()).phase is run.Phase.DONE
    stop.open.set()
    await first.ended()


@pytest.mark.slow  # what it adds to the tests of the domain is the wiring alone
async def test_the_more_urgent_of_two_that_wait_goes_first(fettle: Installation, world: World) -> None:
    world.collisions = {(1, 2): 0.5, (1, 3): 0.5, (2, 3): 0.5}
    first, stop = await at_work(fettle, world)
    usual = await fettle.start(world.issue(2))
    await waits(usual)
    urgent = await fettle.start(world.issue(3, labels=("fettle", "priority-2")))
    await waits(urgent)
    stop.open.set()
    await asyncio.gather(first.ended(), usual.ended(), urgent.ended())
    assert claims(world) == ["1", "3", "2"]


@pytest.fixture
async def hostless() -> AsyncIterator[Installation]:
    """An installation whose agent hosts are all away."""
    async with (
        await WorkflowEnvironment.start_local(**installation.server()) as env,
        installation.installed(await installation.connect(env), (), agents=False) as running,
    ):
        yield running


async def test_with_no_agent_host_a_run_is_admitted_after_a_moment(hostless: Installation) -> None:
    world = hostless.world()
    first = await hostless.start(world.issue(1))
    await first.until(lambda s: s.admitted)
    second = await hostless.start(world.issue(2))
    entity = refs.repository_workflow_id(world.repo)
    await second.expire(wire.PREDICT_CONFLICTS, timedelta(seconds=0.5), workflow_id=entity)
    await second.until(lambda s: s.admitted)
    assert "no agent host took the question up" in await card(hostless, entity)

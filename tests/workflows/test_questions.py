"""An action that a person decides: the run waits without a process or a slot, and exactly that call goes on."""

from collections import deque

from domain import agent, run, steps, wire
from tests.workflows.installation import Installation
from tests.workflows.runs import Run
from tests.workflows.test_deciding import refusal
from tests.workflows.world import Turn, World

ASKED = agent.Question(id="toolu_1", tool="Bash", text="git push --force")


async def waiting(fettle: Installation, world: World) -> Run:
    world.turns[1] = deque([Turn(files={}, asks=ASKED)])
    started = await fettle.start(world.issue(1))
    await started.until(lambda s: s.hold is not None and s.hold.kind is run.HoldKind.ACTION_APPROVAL)
    return started


async def answered(started: Run, *, allow: bool, action: str = ASKED.id, note: str = "") -> run.State:
    decision = run.Decision(by="ann", approve=allow, action=action, note=note)
    return await started.update(wire.DECIDE, decision)


async def test_a_question_waits_without_a_slot_and_says_what_is_asked(fettle: Installation, world: World) -> None:
    started = await waiting(fettle, world)
    await started.quiet()
    state = await started.state()
    assert state.phase is run.Phase.IMPLEMENTING
    assert steps.next_step(state) is steps.Step.AWAIT_ANSWER
    assert state.hold is not None
    assert "toolu_1" in state.hold.note
    assert "git push --force" in state.hold.note
    assert world.host_of(started.issue.workflow_id) is None
    before = len(await started.events())
    await started.quiet()
    assert len(await started.events()) == before


async def test_an_allowed_action_continues_exactly_that_call_in_the_same_session(
    fettle: Installation, world: World
) -> None:
    started = await waiting(fettle, world)
    await answered(started, allow=True)
    assert (await started.ended()).phase is run.Phase.DONE
    first, second = world.turn_requests
    assert first.answer is None
    assert second.answer == agent.Answer(question_id="toolu_1", allow=True, by="ann")
    assert second.session.id == first.session.id
    assert second.resume


async def test_a_refused_action_goes_back_to_the_agent_and_does_not_end_the_run(
    fettle: Installation, world: World
) -> None:
    started = await waiting(fettle, world)
    await answered(started, allow=False, note="never force")
    assert (await started.ended()).phase is run.Phase.DONE
    answer = world.turn_requests[1].answer
    assert answer is not None
    assert (answer.allow, answer.note) == (False, "never force")


async def test_an_answer_is_given_once(fettle: Installation, world: World) -> None:
    started = await waiting(fettle, world)
    await answered(started, allow=True)
    await started.ended()
    assert [request.answer is not None for request in world.turn_requests] == [False, True]


async def test_an_answer_to_another_action_is_refused_with_both(fettle: Installation, world: World) -> None:
    started = await waiting(fettle, world)
    said = await refusal(answered(started, allow=True, action="toolu_9"))
    assert "toolu_1" in said
    assert "toolu_9" in said
    said = await refusal(started.approve("0" * 40))
    assert "--action toolu_1" in said
    await started.handle.cancel()
    await started.cancelled()


async def test_a_rejected_run_ends_although_it_asks(fettle: Installation, world: World) -> None:
    started = await waiting(fettle, world)
    await started.update(wire.DECIDE, run.Decision(by="ann", approve=False, note="wrong approach"))
    assert (await started.ended()).phase is run.Phase.REJECTED


async def test_the_same_verbs_work_as_signals(fettle: Installation, world: World) -> None:
    started = await waiting(fettle, world)
    await started.handle.signal(wire.SIGNAL_APPROVE, run.Decision(by="ann", action=ASKED.id))
    assert (await started.ended()).phase is run.Phase.DONE


async def test_a_hold_at_a_question_keeps_the_answer_for_later(fettle: Installation, world: World) -> None:
    started = await waiting(fettle, world)
    await started.hold()
    await answered(started, allow=True)
    await started.quiet()
    assert len(world.turn_requests) == 1
    await started.release()
    assert (await started.ended()).phase is run.Phase.DONE
    assert len(world.turn_requests) == 2


async def test_another_agent_goes_on_where_nobody_has_answered(fettle: Installation, world: World) -> None:
    started = await waiting(fettle, world)
    await started.update(wire.EDIT, run.Edit(by="ann", agent="claude"))
    assert (await started.ended()).phase is run.Phase.DONE
    first, second = world.turn_requests
    assert second.session.backend == "claude"
    assert second.session.id != first.session.id
    assert second.answer is None

"""What goes wrong on hosts and forges: each failure class has its budget, its words and its way back."""

import asyncio
from collections import deque
from datetime import timedelta

import pytest

from domain import errors, outcomes, run, wire, work
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows import installation
from tests.workflows.installation import Installation
from tests.workflows.world import Turn, World

SECRET = work.SafetyFinding(rule="private-key", level=work.FindingLevel.BLOCKS, path="key.pem", line=1, commit="c" * 40)


def crash(text: str = "exit code 1") -> Turn:
    return Turn(error=errors.AgentCrashed(text))


async def test_a_crashed_agent_is_asked_again_by_the_stronger_model_in_the_same_session(
    fettle: Installation, world: World
) -> None:
    world.policy = RepositoryPolicy(model="small", escalation_model="large")
    world.turns[1] = deque([crash()])
    started = await fettle.start(world.issue(1))
    await started.ended()
    first, second = world.turn_requests
    assert (first.model, second.model) == ("small", "large")
    assert (first.resume, second.resume) == (False, True)
    assert first.session.id == second.session.id
    assert (first.round, second.round) == (1, 2)


@pytest.mark.parametrize(
    ("turn", "kind"),
    [(crash(), "agent_error"), (Turn(error=errors.AgentStalled("no output for 600 s")), "stall")],
    ids=["crash", "stall"],
)
async def test_an_agent_that_keeps_failing_ends_the_run_with_its_budget(
    fettle: Installation, world: World, turn: Turn, kind: str
) -> None:
    world.policy = RepositoryPolicy.model_validate({"budgets": {kind: 1}})
    world.turns[1] = deque([turn] * 5)
    started = await fettle.start(world.issue(1))
    ended = await started.ended()
    assert ended.ending is not None
    assert (ended.phase, ended.ending.failure_class) == (run.Phase.FAILED, kind)
    assert str(turn.error) in ended.ending.reason
    assert len(world.turn_requests) == 2
    assert world.forge.issues[1].labels == {wire.LABEL_FAILED}
    assert world.host_of(started.handle.id) is None


async def test_an_agent_that_changes_nothing_is_its_own_outcome(fettle: Installation, world: World) -> None:
    world.turns[1] = deque([Turn(files={}), Turn(files={})])
    started = await fettle.start(world.issue(1))
    ended = await started.ended()
    assert ended.ending is not None
    assert ended.ending.failure_class == "no_changes"
    assert "turn 2 done" in ended.ending.reason
    assert world.effect_counts()["pushed"] == 0


async def test_an_unsafe_push_goes_back_to_the_agent_once_and_then_fails(fettle: Installation) -> None:
    repaired = fettle.world()
    repaired.findings.append((SECRET,))
    started = await fettle.start(repaired.issue(1))
    assert (await started.ended()).phase is run.Phase.DONE
    assert "private-key in key.pem:1" in repaired.turn_requests[1].brief.feedback
    stubborn = fettle.world()
    stubborn.findings.extend([(SECRET,), (SECRET,)])
    failed = await (await fettle.start(stubborn.issue(1))).ended()
    assert failed.ending is not None
    assert failed.ending.failure_class == "safety"
    assert stubborn.effect_counts()["pushed"] == 0


async def test_a_failing_verification_is_repaired_by_the_stronger_model_up_to_its_budget(
    fettle: Installation,
) -> None:
    repaired = fettle.world()
    repaired.policy = RepositoryPolicy(verify_command="make test", model="small", escalation_model="large")
    repaired.verifies.append(False)
    assert (await (await fettle.start(repaired.issue(1))).ended()).phase is run.Phase.DONE
    assert [t.model for t in repaired.turn_requests] == ["small", "large"]
    assert "1 failed" in repaired.turn_requests[1].brief.feedback
    stubborn = fettle.world()
    stubborn.policy = RepositoryPolicy.model_validate({"verify_command": "x", "budgets": {"verify": 1}})
    stubborn.verifies.extend([False, False])
    failed = await (await fettle.start(stubborn.issue(1))).ended()
    assert failed.ending is not None
    assert failed.ending.failure_class == "verify"
    assert stubborn.effect_counts()["pull opened"] == 0


async def test_a_failed_run_is_retried_as_a_new_run_of_the_same_id(fettle: Installation, world: World) -> None:
    """It continues from the branch that the failed one had pushed."""
    world.policy = RepositoryPolicy.model_validate({"verify_command": "x", "budgets": {"verify": 0}})
    world.verifies.append(False)
    issue = world.issue(1)
    failed = await fettle.start(issue)
    assert (await failed.ended()).phase is run.Phase.FAILED
    first = (await failed.handle.describe()).run_id
    again = await fettle.start(issue)
    assert (await again.ended()).phase is run.Phase.DONE
    assert (await again.handle.describe()).run_id != first
    assert world.forge.issues[1].labels == {wire.LABEL_DONE}
    await again.place_is_free()


@pytest.mark.parametrize("verb", [wire.RELEASE, wire.RETRY])
async def test_a_step_that_is_stuck_asks_a_person_and_is_repeated_at_their_word(
    fettle: Installation, world: World, verb: str
) -> None:
    world.before[wire.POST_REVIEW] = deque([errors.AccessDenied("the token may not write reviews")])
    started = await fettle.start(world.issue(1))
    held = (await started.until(lambda s: s.hold is not None)).hold
    assert held is not None
    assert held.kind is run.HoldKind.UNKNOWN_OUTCOME
    assert "post review" in held.note
    assert "the token may not write reviews" in held.note
    await started.update(verb, run.HoldRequest(by="ann"))
    assert (await started.ended()).phase is run.Phase.DONE
    assert world.count(wire.POST_REVIEW) == 2
    assert world.effect_counts()["review posted"] == 1


async def test_a_closing_that_is_stuck_can_be_repeated(fettle: Installation, world: World) -> None:
    """The run has an ending already: that must not lock people out."""
    world.before[wire.CLOSE_RUN] = deque([errors.BadCredentials("the token has expired")])
    started = await fettle.start(world.issue(1))
    await started.until(lambda s: s.hold is not None)
    await started.quiet()
    assert world.count(wire.CLOSE_RUN) == 1
    await started.release()
    assert (await started.ended()).phase is run.Phase.DONE


async def test_a_lost_answer_repeats_no_effect(fettle: Installation, world: World) -> None:
    """The forge did it and the answer was lost: the next attempt finds it."""
    lost = errors.ForgeUnavailable("502 Bad Gateway")
    names = (wire.PUBLISH_PULL_REQUEST, wire.POST_REVIEW, wire.MARK_READY, wire.MERGE_CANDIDATE)
    world.after = {name: deque([lost]) for name in names}
    started = await fettle.start(world.issue(1))
    assert (await started.ended()).phase is run.Phase.DONE
    assert [world.count(name) for name in names] == [2, 2, 2, 2]
    once = world.effect_counts()
    assert [once[e] for e in ("pull opened", "review posted", "marked ready", "merged")] == [1, 1, 1, 1]


async def test_a_merge_that_the_forge_refuses_for_good_asks_a_person(fettle: Installation, world: World) -> None:
    world.before[wire.MERGE_CANDIDATE] = deque([errors.AccessDenied("merging needs a code owner")])
    started = await fettle.start(world.issue(1))
    held = (await started.until(lambda s: s.hold is not None)).hold
    assert held is not None
    assert "merging needs a code owner" in held.note
    await started.release()
    assert (await started.ended()).phase is run.Phase.DONE
    assert world.effect_counts()["merged"] == 1


async def test_a_bug_in_our_code_stalls_a_run_and_does_not_end_it(
    fettle: Installation, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the deploy of the fix it goes on where it stood."""
    works, seen = outcomes.after_opening, asyncio.Event()

    def broken(state: run.State, opened: object) -> None:
        if state.issue.repo == world.repo:
            seen.set()
            raise ZeroDivisionError("a bug")
        works(state, opened)  # type: ignore[arg-type] # what it was given

    monkeypatch.setattr(outcomes, "after_opening", broken)
    started = await fettle.start(world.issue(1))
    await seen.wait()
    assert (await started.handle.describe()).status == 1  # running
    monkeypatch.undo()
    assert (await started.ended()).phase is run.Phase.DONE
    assert await started.events("WORKFLOW_TASK_FAILED")
    assert world.count(wire.OPEN_RUN) == 1


async def test_a_dependent_waits_and_is_told_in_words_when_its_dependency_is_lost(fettle: Installation) -> None:
    world = fettle.world()
    world.mode = ApprovalMode.REVIEW_MERGE
    first = await fettle.start(world.issue(1))
    second = await fettle.start(world.issue(2, body="Depends on #1"))
    third = await fettle.start(world.issue(3, body="Depends on #2"))
    await world.called(wire.WATCH_DEPENDENCIES, 2)
    assert (await second.until(lambda s: s.phase is run.Phase.BLOCKED)).admission_asked is False
    head = await first.at_gate()
    await first.update(wire.DECIDE, run.Decision(by="ann", approve=False, head_sha=head, note="no"))
    await first.ended()
    await second.poll_now()
    lost = await second.ended()
    assert lost.ending is not None
    assert lost.ending.failure_class == "dependency"
    assert lost.ending.reason == f"it depends on {first.issue}, which is labelled {wire.LABEL_REJECTED}"
    await third.poll_now()
    cascade = (await third.ended()).ending
    assert cascade is not None
    assert cascade.reason == f"it depends on {second.issue}, which is labelled {wire.LABEL_FAILED}"
    assert world.count(wire.RUN_AGENT) == 1


async def test_a_dependent_begins_when_its_dependency_is_done(fettle: Installation, world: World) -> None:
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2, body="Depends on #1"))
    await world.called(wire.WATCH_DEPENDENCIES)
    stop.open.set()
    await first.ended()
    assert world.count(wire.CLAIM_HOST, str(second.issue)) == 0
    await second.poll_now()
    assert (await second.ended()).phase is run.Phase.DONE
    merged = [e.name for e in world.effects if e.name == "merged"]
    assert len(merged) == 2


async def test_a_dependency_that_does_not_exist_is_named(fettle: Installation, world: World) -> None:
    started = await fettle.start(world.issue(1, body="Blocked by: #77"))
    ended = (await started.ended()).ending
    assert ended is not None
    assert ended.reason == f"it depends on {world.repo}#77, which does not exist"


async def test_a_foreign_push_with_a_secret_is_kept_shut_until_it_is_rewritten(
    fettle: Installation, world: World
) -> None:
    world.mode = ApprovalMode.REVIEW_MERGE
    started = await fettle.start(world.issue(1))
    await started.at_gate()
    branch = (await started.state()).branch
    world.findings.extend([(SECRET,), (SECRET,)])
    world.forge.push(branch, {"key.pem": "x"})
    await started.until(lambda s: s.hold and s.hold.kind is run.HoldKind.UNKNOWN_OUTCOME)
    await started.release()
    await world.called(wire.INSPECT_HEAD, 2)
    await started.until(lambda s: s.hold and s.hold.kind is run.HoldKind.UNKNOWN_OUTCOME)
    clean = world.forge.push(branch, {"key.pem": ""})
    await started.release()
    assert await started.at_gate() == clean
    await started.approve(clean)
    await started.ended()


async def test_a_host_that_is_gone_is_left_for_another_one(world: World, fettle: Installation) -> None:
    """Nobody polls the host's queue any more: the turn is taken elsewhere, from what was pushed. The server is asked
    to see that after a second instead of after minutes."""
    async with installation.installed(fettle.temporal, ("host-c",), control=False) as lone:
        lone.outside.worlds[world.repo] = world
        (host,) = lone.outside.hosts.values()
        others = dict(fettle.outside.hosts)
        world.hosts = lone.outside.hosts
        stop = world.stop(wire.PREPARE_WORKTREE)
        started = await fettle.start(world.issue(1))
        await stop.reached.wait()
        stop.open.set()
        await world.until(lambda: world.inside == 0)  # the worktree is there: the shutdown would interrupt its making
        await lone.hosts[host.host_id].shutdown()
    world.hosts = others
    await started.expire(wire.RUN_AGENT, timedelta(seconds=1))
    ended = await started.ended()
    assert ended.phase is run.Phase.DONE
    assert ended.host is not None
    assert ended.host.host_id in others

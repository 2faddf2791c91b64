"""A CLI that names its conversations itself: the run asked for one id, every later turn finds the same record."""

import asyncio
import dataclasses
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from activities import agent_turn, turn_fence
from domain import agent, errors
from integrations.agent import port, scripted, verdicts
from sandbox import proc
from tests.activities.agent_host import Host, processes_in
from tests.activities.test_agent_turn import WAIT, Environment


class NamesItself(scripted.ScriptedBackend):
    """The scripted agent, but a new conversation gets an id that nobody chose before its start."""

    def new_session(self) -> agent.Session:
        return agent.Session(backend=self.name)

    def command(self, request: agent.TurnRequest, *rest: Any, **more: Any) -> port.Command:
        own = request.session.id if request.resume else str(uuid.uuid4())
        session = request.session.model_copy(update={"id": own})
        return super().command(request.model_copy(update={"session": session}), *rest, **more)

    def fold(
        self, events: Sequence[agent.Event], exit_code: int | None, request: agent.TurnRequest | None = None
    ) -> port.Verdict:
        return verdicts.checked(self._folded(events, exit_code), events, request, chosen=False)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host.at(tmp_path)


def activities_of(host: Host) -> agent_turn.AgentTurnActivities:
    backend = NamesItself(scripted.ScriptedSettings(script=host.script))
    return dataclasses.replace(host.activities(), backends={"scripted": backend})


def after(request: agent.TurnRequest, session: agent.Session) -> agent.TurnRequest:
    return request.model_copy(update={"round": request.round + 1, "resume": True, "session": session})


async def test_a_turn_after_one_that_ended_well_is_not_told_of_a_loss(host: Host) -> None:
    host.play([{"cost": 0.5}, {"say": "first"}], [{"cost": 0.25}, {"say": "second"}])
    request = host.request()
    first = await Environment().run(activities_of(host).run_agent, request)
    assert first.session.id != request.session.id
    second = await Environment().run(activities_of(host).run_agent, after(request, first.session))
    assert (second.summary, second.session.id) == ("second", first.session.id)
    assert not second.resumed_after_loss
    assert (second.cost_usd, second.turn_cost_usd) == (0.75, 0.25)


async def test_a_turn_after_one_that_crashed_continues_the_conversation(host: Host) -> None:
    """Its error could not tell the run what the conversation is called."""
    host.play([{"say": "begun"}, {"crash": {"exit_code": 3}}, {"say": "after the crash"}])
    request = host.request()
    with pytest.raises(errors.AgentCrashed, match="can be resumed"):
        await Environment().run(activities_of(host).run_agent, request)
    [begun] = [line["session_id"] for line in host.transcript() if line["type"] == "session"]
    result = await Environment().run(activities_of(host).run_agent, after(request, request.session))
    assert (result.summary, result.session.id, result.resumed_after_loss) == ("after the crash", begun, True)


async def test_an_attempt_that_knows_the_name_ends_one_that_was_asked_by_another(host: Host) -> None:
    host.play([WAIT, {"say": "alone"}])
    activities, request, zombie = activities_of(host), host.request(), Environment()
    lost = asyncio.create_task(zombie.run(activities.run_agent, request))
    beat = await zombie.beat_where(lambda each: bool(each.launched and each.session.id != request.session.id))
    [old] = processes_in(host.worktree)
    running = asyncio.create_task(Environment(beat, attempt=2).run(activities.run_agent, request))
    with pytest.raises(errors.AgentCrashed):
        await lost
    (host.worktree / "go").touch()
    assert (await running).summary == "alone"
    assert proc.identity(old) is None


async def test_a_session_is_held_under_both_of_its_names(tmp_path: Path) -> None:
    asked, named = (agent.Session(backend="codex", id=str(uuid.uuid4())) for _ in range(2))
    async with turn_fence.hold(tmp_path, asked, 0) as fence:
        fence.begin_round(1, "a/1")
        fence.also_known_as(named)
        taking = asyncio.create_task(_take(tmp_path, named))
        done, _ = await asyncio.wait({taking}, timeout=0.5)
        assert not done, "two attempts hold one conversation"
    assert await taking == 1


async def _take(state: Path, session: agent.Session) -> int:
    async with turn_fence.hold(state, session, 0) as fence:
        return fence.record.round

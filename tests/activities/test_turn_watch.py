"""When an agent counts as lost: the rules over a clock, and the thread that looks, with real processes."""

import asyncio
import signal
import time
from typing import Any

import pytest

from activities import turn_watch
from activities.turn_watch import Lost, Reading, Vigil
from domain import agent, errors
from sandbox import proc
from tests.activities.agent_host import Host, processes_in
from tests.activities.test_agent_turn import Environment, file_at

BOUNDS = agent.Limits(start_seconds=60, silence_seconds=300, total_seconds=7200)


def reading(cpu: float = 0, io: int = 0, *, stopped: bool = False, complained: int = 0) -> Reading:
    return Reading(proc.Usage(cpu, io), stopped, complained)


def vigil(bounds: agent.Limits = BOUNDS, *, spoke: bool = True) -> Vigil:
    made = Vigil(bounds, 0, reading())
    if spoke:
        made.spoke(0)
    return made


def event(kind: agent.EventKind, call: str = "c1") -> agent.Event:
    return agent.Event(kind=kind, text="Bash", tool_id=call)


def test_ten_minutes_of_silent_cpu_work_are_no_stall() -> None:
    watched = vigil()
    for second in range(5, 605, 5):
        assert watched.look(second, reading(cpu=second * 0.06)) is None
    assert watched.look(899, reading(cpu=600 * 0.06)) is None
    assert watched.look(905, reading(cpu=600 * 0.06)) is Lost.SILENT


def test_bytes_and_complaints_are_work_and_a_timer_is_none() -> None:
    watched = vigil()
    assert watched.look(299, reading(io=300_000)) is None
    assert watched.look(598, reading(io=300_000, complained=40)) is None
    for second in range(603, 898, 5):  # what an idle event loop uses
        assert watched.look(second, reading(cpu=(second - 600) * 0.001, io=300_000, complained=40)) is None
    assert watched.look(899, reading(cpu=0.3, io=300_000, complained=40)) is Lost.SILENT


def test_a_call_in_flight_is_no_silence_until_its_answer() -> None:
    """A command may wait for the network for as long as its own time-out says."""
    watched = vigil()
    watched.saw(event(agent.EventKind.TOOL))
    watched.saw(event(agent.EventKind.TOOL, "c2"))
    watched.saw(event(agent.EventKind.TOOL_RESULT, "c2"))
    assert watched.calls == ("Bash",)
    for second in range(100, 3000, 100):
        assert watched.look(second, reading()) is None
    watched.saw(event(agent.EventKind.TOOL_RESULT))
    assert watched.look(3199, reading()) is None
    assert watched.look(3201, reading()) is Lost.SILENT


def test_a_call_whose_end_nobody_tells_is_silence() -> None:
    watched = vigil()
    watched.saw(agent.Event(kind=agent.EventKind.TOOL, text="shell"))
    assert watched.look(301, reading()) is Lost.SILENT


def test_a_stopped_agent_is_found_within_a_minute_also_during_a_call() -> None:
    watched = vigil()
    watched.saw(event(agent.EventKind.TOOL))
    found = [second for second in range(5, 65, 5) if watched.look(second, reading(stopped=True)) is Lost.STOPPED]
    assert found[0] <= 35


def test_an_agent_that_is_let_on_in_time_was_not_lost() -> None:
    watched = vigil()
    for second in range(5, 30, 5):
        assert watched.look(second, reading(stopped=True)) is None
    assert watched.look(30, reading()) is None
    assert watched.look(35, reading(stopped=True)) is None


def test_start_and_total_are_deadlines_of_their_own() -> None:
    watched = vigil(spoke=False)
    assert watched.look(59, reading(cpu=50)) is None
    assert watched.look(60, reading(cpu=55)) is Lost.NEVER_SPOKE
    watched = vigil()
    watched.saw(event(agent.EventKind.TOOL))
    assert watched.look(7200, reading(cpu=7000)) is Lost.OUT_OF_TIME


@pytest.fixture
def host(tmp_path: Any) -> Host:
    return Host.at(tmp_path)


async def _program(host: Host) -> proc.Identity:
    """The agent's own process, once its turn is under way."""
    await file_at(host.worktree / "begun")
    found = [identity for pid in processes_in(host.worktree) if (identity := proc.identity(pid))]
    return min(found, key=lambda each: each.started)


async def test_a_sigstopped_agent_is_found_and_nothing_of_it_is_left(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_watch, "STOPPED_SECONDS", 1.0)
    host.play([{"write": {"path": "begun", "content": ""}}, {"hang": {"busy": True}}])
    monkeypatch.setattr(turn_watch, "_LOOK_SECONDS", 0.5)
    request = host.request(limits=agent.Limits(stop_grace_seconds=0.5, silence_seconds=600))
    environment = Environment()
    running = asyncio.create_task(environment.run(host.activities().run_agent, request))
    program = await _program(host)
    assert proc.send(program, signal.SIGSTOP)
    with pytest.raises(errors.AgentStalled, match="SIGSTOP"):
        await running
    assert processes_in(host.worktree) == []


@pytest.mark.slow
async def test_a_sigstopped_agent_is_found_within_a_minute_with_the_limits_of_production(host: Host) -> None:
    host.play([{"write": {"path": "begun", "content": ""}}, {"hang": {"busy": True}}])
    environment = Environment()
    running = asyncio.create_task(environment.run(host.activities().run_agent, host.request()))
    program = await _program(host)
    began = time.monotonic()
    assert proc.send(program, signal.SIGSTOP)
    with pytest.raises(errors.AgentStalled, match="SIGSTOP"):
        await running
    took = time.monotonic() - began
    print(f"found and ended {took:.1f} s after SIGSTOP")  # noqa: T201 - a measurement, shown with -s
    assert took < 55
    assert processes_in(host.worktree) == []


async def test_a_stopped_launcher_is_woken_to_clean_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_watch, "STOPPED_SECONDS", 1.0)
    monkeypatch.setattr(turn_watch, "_LOOK_SECONDS", 0.5)
    host.play([{"write": {"path": "begun", "content": ""}}, {"hang": {}}])
    request = host.request(limits=agent.Limits(stop_grace_seconds=0.5, silence_seconds=600))
    running = asyncio.create_task(Environment().run(host.activities().run_agent, request))
    program = await _program(host)
    launcher = proc.identity(proc.parent(program.pid))
    assert launcher is not None
    assert proc.send(launcher, signal.SIGSTOP)
    with pytest.raises(errors.AgentStalled, match="SIGSTOP"):
        await running
    assert not proc.is_alive(launcher)
    assert processes_in(host.worktree) == []


async def test_a_lost_agent_is_ended_although_the_event_loop_is_blocked(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_watch, "_TAKEN_WITHIN_SECONDS", 0.3)
    host.play([{"write": {"path": "begun", "content": ""}}, {"hang": {}}])
    request = host.request(limits=agent.Limits(stop_grace_seconds=0.5, silence_seconds=4))
    running = asyncio.create_task(Environment().run(host.activities().run_agent, request))
    program = await _program(host)
    until = time.monotonic() + 30
    while proc.is_alive(program) and time.monotonic() < until:
        time.sleep(0.05)  # noqa: ASYNC251 - the loop is to be blocked
    assert not proc.is_alive(program)
    with pytest.raises(errors.AgentError):
        await running


async def test_an_agent_that_never_speaks_is_not_waited_for_as_long_as_a_silent_one(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.play([{"hang": {}}])
    backend = type(host.activities().backends["scripted"])
    command = backend.command

    def mute(self: Any, *given: Any) -> Any:
        made = command(self, *given)
        return type(made)(("sleep", "60"), made.env, made.stdin)

    monkeypatch.setattr(backend, "command", mute)
    request = host.request(limits=agent.Limits(start_seconds=0.6, silence_seconds=60, stop_grace_seconds=0.5))
    with pytest.raises(errors.AgentStalled, match="nothing since its start"):
        await Environment().run(host.activities().run_agent, request)

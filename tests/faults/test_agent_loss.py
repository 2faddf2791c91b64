"""Whatever is killed in the middle of an agent's turn, the same conversation goes on and ends in one merge."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from domain import refs
from sandbox import proc
from tests.e2e.agents import Gate, RunningAgent
from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(150)]

RESUMED_WITHIN = 45.0
Name = Callable[[str], str]


def _script(gate: Gate, *around: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Leaves one line a step, so that a step that was played twice is seen in the merged file."""
    steps: list[dict[str, Any]] = [
        {"append": {"path": "steps.txt", "content": f"{word}\n"}} for word in ("one", "two", "three", "four")
    ]
    before, after = ([step] if step else [] for step in around)
    return [*steps[:2], *before, *gate.steps, *after, *steps[2:], {"say": "done"}]


async def _mid_turn(
    stack: Stack, name: str, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None
) -> tuple[refs.Issue, Gate, RunningAgent]:
    repo = await stack.repository(name, {})
    gate = stack.gate(name)
    issue = await stack.ask(repo, "Write four lines", _script(gate, before, after))
    await gate.reached()
    return issue, gate, await stack.agent_of(issue)


async def _resumed(stack: Stack, issue: refs.Issue, lost: RunningAgent, killed_at: float) -> RunningAgent:
    """Wait for another process of the same session."""

    async def look() -> RunningAgent | None:
        found = await stack.agent_of(issue, seconds=60)
        return found if found.program != lost.program else None

    found = await until(look, 60, f"a resumed agent of {issue}")
    seconds = time.monotonic() - killed_at
    print(f"resumed {seconds:.1f} s after the kill")  # noqa: T201 - a measurement, shown with -s
    assert found.session == lost.session
    assert seconds <= RESUMED_WITHIN
    return found


async def _ends_in_one_merge(stack: Stack, issue: refs.Issue, gate: Gate, session: str) -> None:
    gate.open()
    state = await stack.merged(issue)
    assert state.session is not None
    assert state.session.id == session
    sessions = [event for event in stack.events_of(issue) if event["type"] == "session"]
    assert {event["session_id"] for event in sessions} == {session}
    assert [event["resumed"] for event in sessions] == [False, True]
    assert stack.books.show(issue.repo, "steps.txt") == "one\ntwo\nthree\nfour"
    await stack.books.check_merged_once(issue)
    stack.books.check_main_was_tested(issue.repo)


@pytest.mark.slow  # ten seconds and more of real waiting
async def test_killed_agents_worker_resumes_the_same_session(stack: Stack, name: Name) -> None:
    issue, gate, lost = await _mid_turn(stack, name("worker"))
    killed_at = time.monotonic()
    await stack.kill("agents")
    await _resumed(stack, issue, lost, killed_at)
    assert not proc.is_alive(lost.program)
    await _ends_in_one_merge(stack, issue, gate, lost.session)


async def test_killed_agent_cli_resumes_the_same_session(stack: Stack, name: Name) -> None:
    issue, gate, lost = await _mid_turn(stack, name("cli"))
    killed_at = time.monotonic()
    assert proc.send(lost.program, signal.SIGKILL)
    await _resumed(stack, issue, lost, killed_at)
    assert not proc.is_alive(lost.launcher)
    await _ends_in_one_merge(stack, issue, gate, lost.session)


@pytest.mark.slow
async def test_killed_launcher_resumes_the_same_session(stack: Stack, name: Name) -> None:
    issue, gate, lost = await _mid_turn(stack, name("launcher"))
    killed_at = time.monotonic()
    assert proc.send(lost.launcher, signal.SIGKILL)
    await _resumed(stack, issue, lost, killed_at)
    assert not proc.is_alive(lost.program)
    await _ends_in_one_merge(stack, issue, gate, lost.session)


@pytest.mark.slow
async def test_worker_and_launcher_killed_together_leave_no_orphan_of_the_agent(stack: Stack, name: Name) -> None:
    """With both gone nobody knows what the agent had started; it would go on writing beside the resumed agent."""
    orphan: dict[str, Any] = {"spawn_orphan": {"seconds": 300, "path": "tick.txt"}}
    clean = {"delete": {"path": "tick.txt"}}
    issue, gate, lost = await _mid_turn(stack, name("both"), orphan, clean)
    left = await stack.orphan_of(issue)
    killed_at = time.monotonic()
    assert proc.send(lost.launcher, signal.SIGKILL)
    await stack.kill("agents")
    assert proc.is_alive(left), "nothing was left, so the test proves nothing"
    await _resumed(stack, issue, lost, killed_at)
    assert not proc.is_alive(lost.program)
    assert not proc.is_alive(left)
    await _ends_in_one_merge(stack, issue, gate, lost.session)


async def test_stopped_agents_worker_hands_its_turn_to_the_next(stack: Stack, name: Name) -> None:
    """A deploy stops workers with SIGTERM: the turn is interrupted at once, and continued, not repeated."""
    issue, gate, lost = await _mid_turn(stack, name("drain"))
    killed_at = time.monotonic()
    await stack.kill("agents", signal.SIGTERM)
    assert not proc.is_alive(lost.program), "a worker that has ended left its agent running"
    await _resumed(stack, issue, lost, killed_at)
    await _ends_in_one_merge(stack, issue, gate, lost.session)

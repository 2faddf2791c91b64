"""A person answers an agent's question, and takes a run over: the real commands on a whole installation."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain import refs, run
from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    made = Stack(tmp_path / "state")
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


async def _asked(stack: Stack, issue: refs.Issue) -> str:
    """The id of the action that the run waits with."""

    async def look() -> str | None:
        state = await stack.state_of(issue)
        held = state is not None and state.hold is not None and state.hold.kind is run.HoldKind.ACTION_APPROVAL
        return state.question.id if held and state is not None and state.question else None

    return await until(look, 40, f"a question of {issue}")


async def test_an_action_waits_for_a_person_and_exactly_that_call_goes_on(stack: Stack) -> None:
    repo = await stack.repository("asks", {})
    steps = [
        {"write": {"path": "one.txt", "content": "1\n"}},
        {"ask": {"tool": "Bash", "text": "publish the package", "run": "echo published >> asked.txt"}},
        {"write": {"path": "two.txt", "content": "2\n"}},
        {"say": "done"},
    ]
    issue = await stack.ask(repo, "Publish it", steps)
    action = await _asked(stack, issue)
    explained = await stack.fettle("explain", str(issue))
    assert f"--action {action}" in explained.stdout, explained
    assert "publish the package" in explained.stdout
    wrong = await stack.fettle("approve", str(issue), "--action", "another")
    assert wrong.returncode == 1
    assert action in wrong.stderr
    allowed = await stack.fettle("approve", str(issue), "--action", action, "--note", "this once")
    assert allowed.returncode == 0, allowed.stderr
    await stack.merged(issue)
    assert stack.books.show(repo, "asked.txt") == "published"
    assert stack.books.show(repo, "two.txt") == "2"


async def test_a_refused_action_is_not_carried_out(stack: Stack) -> None:
    repo = await stack.repository("refused", {})
    steps = [
        {"write": {"path": "one.txt", "content": "1\n"}},
        {"ask": {"tool": "Bash", "text": "publish the package", "run": "echo published >> asked.txt"}},
        {"say": "done"},
    ]
    issue = await stack.ask(repo, "Publish it", steps)
    refused = await stack.fettle("reject", str(issue), "--action", await _asked(stack, issue), "--note", "not today")
    assert refused.returncode == 0, refused.stderr
    await stack.merged(issue)
    assert "asked.txt" not in stack.books.git(repo, "ls-tree", "--name-only", "main")


async def test_a_person_works_in_the_worktree_and_hands_it_back(stack: Stack) -> None:
    repo = await stack.repository("taken", {})
    gate = stack.gate("working")
    first = [{"write": {"path": "one.txt", "content": "1\n"}}, *gate.steps, {"say": "half"}]
    second = [{"write": {"path": "two.txt", "content": "2\n"}}, {"say": "done"}]
    issue = await stack.ask(repo, "Do it together", first, second)
    await gate.reached()
    taking = asyncio.create_task(stack.fettle("takeover", str(issue), "--json"))
    await until(lambda: _taken(stack, issue), 30, "the takeover")
    assert not taking.done()
    gate.open()
    taken = await taking
    assert taken.returncode == 0, taken.stderr
    worktree = Path(json.loads(taken.stdout)["worktree"])
    assert (worktree / "one.txt").read_text() == "1\n"
    (worktree / "by_hand.txt").write_text("a person was here\n")
    (worktree / "CODEOWNERS").write_text("* @ann\n")  # which the policy protects from the agent
    again = await stack.fettle("takeover", str(issue))
    assert f"cd {worktree}" in again.stdout, again
    back = await stack.fettle("handback", str(issue), "--note", "wrote by_hand.txt")
    assert back.returncode == 0, back.stderr
    await stack.merged(issue)
    assert stack.books.show(repo, "by_hand.txt") == "a person was here"
    assert stack.books.show(repo, "two.txt") == "2"
    assert stack.books.show(repo, "CODEOWNERS") == "* @ann"
    log = stack.books.git(repo, "log", "--format=%s", "main")
    assert "work of ann" in log


async def _taken(stack: Stack, issue: refs.Issue) -> bool:
    state = await stack.state_of(issue)
    return state is not None and state.disk_is_theirs


async def test_a_takeover_that_does_not_wait_interrupts_the_agent(stack: Stack) -> None:
    repo = await stack.repository("hurry", {})
    gate = stack.gate("never-opened")
    issue = await stack.ask(repo, "Take your time", [*gate.steps, {"say": "late"}], [{"say": "done"}])
    await gate.reached()
    agent = await stack.agent_of(issue)
    taken = await stack.fettle("takeover", str(issue), "--now", "--json")
    assert taken.returncode == 0, taken.stderr
    assert not Path(f"/proc/{agent.program.pid}").exists()
    worktree = Path(json.loads(taken.stdout)["worktree"])
    (worktree / "by_hand.txt").write_text("all by hand\n")
    gate.open()
    assert (await stack.fettle("handback", str(issue))).returncode == 0
    await stack.merged(issue)
    assert stack.books.show(repo, "by_hand.txt") == "all by hand"

"""People act on the forge while a run works: it ends with the true story, and takes nothing back."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain import policy, refs, run, wire
from sandbox import proc
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

STOPPED_WITHIN = 20.0
Name = Callable[[str], str]
SCRIPT: list[dict[str, Any]] = [{"write": {"path": "answer.txt", "content": "42\n"}}, {"say": "done"}]


async def _at_gate(stack: Stack, name: str) -> tuple[refs.Issue, refs.PullRequest, run.State]:
    """A run that waits for a person's word on its pull request."""
    repo = await stack.repository(name, {}, approval_mode=policy.ApprovalMode.REVIEW_MERGE)
    issue = await stack.ask(repo, "Answer", SCRIPT)
    state = await stack.entered(issue, run.Phase.AWAITING_APPROVAL, seconds=60)
    assert state.pull is not None
    return issue, repo.pull(state.pull.number), state


async def test_pull_request_merged_by_a_person_is_the_runs_success(stack: Stack, name: Name) -> None:
    issue, pull, _ = await _at_gate(stack, name("merged"))
    await stack.people.merge(pull)
    state = await stack.ended(issue)
    assert state.ending is not None
    assert (state.phase, state.ending.reason) == (run.Phase.DONE, "somebody merged the pull request")
    assert await stack.books.labels(issue) == {wire.LABEL_DONE}
    assert "somebody merged the pull request" in (await stack.books.comments(issue))[0]
    assert not [e for e in await stack.books.effects(issue.repo) if e.startswith("PUT") and e.endswith("/merge")]
    await stack.books.check_single_effects(issue)


async def test_pull_request_closed_by_a_person_ends_the_run(stack: Stack, name: Name) -> None:
    issue, pull, _ = await _at_gate(stack, name("closed"))
    await stack.people.close_pull(pull)
    state = await stack.ended(issue)
    assert state.ending is not None
    assert (state.phase, state.ending.reason) == (run.Phase.CANCELLED, "somebody closed the pull request")
    assert await stack.books.labels(issue) == {wire.LABEL_CANCELLED}
    assert (await stack.books.issue(issue))["state"] == "open"
    assert len(stack.books.first_parents(issue.repo)) == 1


async def test_issue_closed_at_the_gate_ends_the_run_without_a_merge(stack: Stack, name: Name) -> None:
    issue, _, _ = await _at_gate(stack, name("dropped"))
    await stack.people.close(issue)
    state = await stack.ended(issue)
    assert state.phase is run.Phase.CANCELLED
    assert state.ending is not None
    assert "closed" in state.ending.reason
    [pull] = await stack.books.pulls(issue)
    assert (pull["state"], pull["merged_at"]) == ("closed", None)
    assert len(stack.books.first_parents(issue.repo)) == 1


@pytest.mark.parametrize("lost", [False, True], ids=["webhook arrives", "webhook is lost"])
async def test_issue_closed_while_the_agent_works_stops_the_agent(stack: Stack, name: Name, lost: bool) -> None:
    """With its webhook the agent stops at once; without it the run finds out before it merges anything."""
    at = name("withdrawn")
    repo = await stack.repository(at, {})
    gate = stack.gate(at)
    issue = await stack.ask(repo, "Answer", [*SCRIPT[:1], *gate.steps, *SCRIPT[1:]])
    await gate.reached()
    agent = await stack.agent_of(issue)
    if lost:
        await stack.people.fault("webhook_drop", forever=True)
    closed_at = time.monotonic()
    await stack.people.close(issue)
    if lost:
        gate.open()
    state = await stack.ended(issue)
    seconds = time.monotonic() - closed_at
    print(f"ended {seconds:.1f} s after the issue was closed")  # noqa: T201 - a measurement, shown with -s
    assert state.phase is run.Phase.CANCELLED
    assert lost or seconds <= STOPPED_WITHIN
    assert state.ending is not None
    assert "closed" in state.ending.reason
    assert not proc.is_alive(agent.program)
    assert not [pull for pull in await stack.books.pulls(issue) if pull["merged_at"]]
    assert await stack.books.labels(issue) == {wire.LABEL_CANCELLED}
    assert "closed" in (await stack.books.comments(issue))[0]


async def test_head_pushed_by_a_person_voids_the_approval_that_was_asked_for(
    stack: Stack, name: Name, tmp_path: Path
) -> None:
    """The approval of the old head is refused with both SHAs; the new head is reviewed, tested and then merged."""
    issue, _, before = await _at_gate(stack, name("pushed"))
    assert before.change is not None
    head = await stack.people.push(issue.repo, before.branch, tmp_path / "clone", {"person.txt": "43\n"})
    assert head != before.change.head_sha
    await stack.gate_at(issue, head)
    stale = await stack.fettle("approve", str(issue), "--head", before.change.head_sha)
    assert stale.returncode == 1
    assert before.change.head_sha in stale.stderr
    assert head in stale.stderr
    assert (await stack.fettle("approve", str(issue), "--head", head)).returncode == 0
    await stack.merged(issue)
    await stack.books.check_merged_once(issue)
    assert stack.books.show(issue.repo, "person.txt") == "43"
    stack.books.check_main_was_tested(issue.repo)

"""The forge does what it was asked and its answer is lost, or it asks for patience: every effect happens once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from domain import refs
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

Name = Callable[[str], str]
SCRIPT: list[dict[str, Any]] = [{"write": {"path": "answer.txt", "content": "42\n"}}, {"say": "done"}]
WRITES = {
    "comment": ("POST", r"/issues/\d+/comments"),
    "comment edit": ("PATCH", r"/issues/comments/\d+"),
    "label": ("POST", r"/issues/\d+/labels"),
    "unlabel": ("DELETE", r"/issues/\d+/labels/"),
    "assignee": ("POST", r"/issues/\d+/assignees"),
    "pull request": ("POST", r"/pulls$"),
    "review": ("POST", r"/pulls/\d+/reviews"),
    "merge": ("PUT", r"/pulls/\d+/merge"),
    "branch removal": ("DELETE", r"/git/refs/heads/"),
}


async def _merged_once(stack: Stack, issue: refs.Issue, seconds: float = 60) -> None:
    await stack.merged(issue, seconds)
    await stack.books.check_merged_once(issue)
    stack.books.check_main_was_tested(issue.repo)


async def _effects(stack: Stack, repo: refs.Repository) -> list[str]:
    """Creations among our writes: what would be there twice if a retry did not look first. A push is none: it names
    what must be there before it, so the forge itself refuses a second one."""
    made = [e for e in await stack.books.effects(repo) if e.startswith(("POST", "PUT"))]
    return [e for e in made if "/labels" not in e and "/git-receive-pack" not in e]


async def _asked_under(stack: Stack, repo: refs.Repository, kind: str, **settings: Any) -> refs.Issue:
    """An issue whose run meets the fault at its first write of each kind. The person who sets the label does not, so
    for labels the fault is armed a moment later: the run sets more of them at its end."""
    for name, (method, path) in WRITES.items():
        if name != "label":
            await stack.people.fault(kind, method=method, path=f"/repos/{repo}{path}", count=1, **settings)
    issue = await stack.ask(repo, "Answer", SCRIPT)
    method, path = WRITES["label"]
    await stack.people.fault(kind, method=method, path=f"/repos/{repo}{path}", count=1, **settings)
    return issue


async def test_every_write_is_made_once_when_its_first_answer_is_lost(stack: Stack, name: Name) -> None:
    repo = await stack.repository(name("lost"), {})
    await stack.people.fault("commit_then_502", method="POST", path="/graphql$", count=1)
    issue = await _asked_under(stack, repo, "commit_then_502")
    await _merged_once(stack, issue)
    unused = [fault["path"] for fault in await stack.people.heal() if not fault["used"]]
    assert not unused, "these writes were never made, so the test proved nothing about them"
    made = await _effects(stack, repo)
    assert len(made) == len(set(made)), f"something was made twice: {sorted(made)}"


async def test_answers_lost_three_times_in_a_row_still_leave_one_effect(stack: Stack, name: Name) -> None:
    repo = await stack.repository(name("thrice"), {})
    for kind in ("comment", "pull request", "merge"):
        method, path = WRITES[kind]
        await stack.people.fault("fail_5xx", method=method, path=f"/repos/{repo}{path}", count=2)
        await stack.people.fault("commit_then_502", method=method, path=f"/repos/{repo}{path}", count=1)
    issue = await stack.ask(repo, "Answer", SCRIPT)
    await _merged_once(stack, issue)
    made = await _effects(stack, repo)
    assert len(made) == len(set(made)), f"something was made twice: {sorted(made)}"


@pytest.mark.slow
@pytest.mark.timeout(200)  # GitHub's rule for a secondary limit without a time is to wait a whole minute
async def test_secondary_rate_limits_with_and_without_a_time_only_cost_time(stack: Stack, name: Name) -> None:
    timed, untimed = await stack.repository(name("timed"), {}), await stack.repository(name("untimed"), {})
    method, path = WRITES["pull request"]
    await stack.people.fault("secondary_rate_limit", method=method, path=f"/repos/{untimed}{path}", count=1)
    await stack.people.fault("primary_rate_limit", method="PUT", path=f"/repos/{untimed}/pulls/", seconds=2, count=1)
    slow = await stack.ask(untimed, "Answer", SCRIPT)
    quick = await _asked_under(stack, timed, "secondary_rate_limit", retry_after=1)
    await asyncio.gather(_merged_once(stack, quick), _merged_once(stack, slow, seconds=130))
    assert all(fault["used"] for fault in await stack.people.heal())
    for repo in (timed, untimed):
        made = await _effects(stack, repo)
        assert len(made) == len(set(made)), f"something was made twice: {sorted(made)}"

"""Waiting for other issues: done, lost, missing, or in a circle."""

from dataclasses import dataclass, field
from typing import cast

import pytest
from temporalio.testing import ActivityEnvironment

from activities.claiming import ClaimingActivities
from domain import errors, forge, refs, tasks
from domain.redaction import Redactor
from integrations.forge.port import Forge

REPO = refs.Repository(owner="acme", name="api")


@dataclass
class Issues:
    """The forge's issues by number: body, open, labels."""

    known: dict[int, forge.Issue] = field(default_factory=dict)

    def add(self, number: int, body: str = "", *, is_open: bool = True, labels: tuple[str, ...] = ()) -> None:
        self.known[number] = forge.Issue(ref=REPO.issue(number), body=body, open=is_open, labels=labels)

    async def issue(self, issue: refs.Issue) -> forge.Issue:
        if issue.number not in self.known:
            raise errors.NotFound(f"{issue} does not exist")
        return self.known[issue.number]


async def watch(issues: Issues, *numbers: int, waiting: int = 1) -> tasks.Dependencies:
    activities = ClaimingActivities(cast("Forge", issues), Redactor(frozenset()))
    request = tasks.WatchDependencies(repo=REPO, numbers=numbers, waiting=waiting)
    answer = await ActivityEnvironment().run(activities.watch_dependencies, request)
    assert isinstance(answer, tasks.Dependencies)
    return answer


async def test_closed_dependencies_are_done() -> None:
    issues = Issues()
    issues.add(2, is_open=False)
    assert (await watch(issues, 2)).failed == ""


async def test_an_open_dependency_is_waited_for() -> None:
    issues = Issues()
    issues.add(2)
    with pytest.raises(errors.NothingNew, match="acme/api#2"):
        await watch(issues, 2)


async def test_a_failed_dependency_is_lost_in_words() -> None:
    issues = Issues()
    issues.add(2, labels=("fettle-failed",))
    assert "acme/api#2, which is labelled fettle-failed" in (await watch(issues, 2)).failed


async def test_a_dependency_that_does_not_exist_is_named() -> None:
    assert "acme/api#9, which does not exist" in (await watch(Issues(), 9)).failed


async def test_a_circle_is_found_over_several_issues() -> None:
    issues = Issues()
    issues.add(2, "Depends on #3")
    issues.add(3, "Blocked by #1")
    assert "#1 → #2 → #3 → #1" in (await watch(issues, 2)).failed


async def test_a_circle_that_does_not_hold_the_waiting_issue_is_not_its_fault() -> None:
    issues = Issues()
    issues.add(2, "Depends on #3")
    issues.add(3, "Depends on #2")
    with pytest.raises(errors.NothingNew):
        await watch(issues, 2)

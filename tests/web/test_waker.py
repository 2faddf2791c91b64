"""From an event to the run it starts, with a Temporal client that notes what is asked of it."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from temporalio.client import Client

from domain import events, forge, policy, refs, run, wire
from store import engine, repositories
from tests.web.conftest import Clock
from web import waker

REPO = refs.Repository.parse("acme/api")


@dataclass
class Notes:
    """Stands in for the server's side of a start."""

    started: list[tuple[str, run.State, dict[str, Any]]] = field(default_factory=list)

    async def start_workflow(self, name: str, state: run.State, **options: Any) -> None:
        self.started.append((name, state, options))


@pytest.mark.parametrize(
    ("title", "summary"), [("Totals are wrong", "acme/api#1: Totals are wrong"), ("", "acme/api#1")]
)
async def test_a_run_that_a_webhook_starts_carries_the_issues_title(
    store: engine.Store, clock: Clock, title: str, summary: str
) -> None:
    """The Temporal Web UI lists runs by their summary, before any of them has read its issue."""
    await store.repositories.upsert(
        repositories.Registration(ref=REPO, policy=policy.RepositoryPolicy(), added_at=clock())
    )

    async def read(issue: refs.Issue) -> forge.Issue:
        return forge.Issue(ref=issue, title=title, labels=(wire.LABEL_TRIGGER,), author="ada")

    notes = Notes()
    event = events.ForgeEvent(
        kind=events.Kind.WORK_REQUESTED, repo=REPO, issue=1, labels=(wire.LABEL_TRIGGER,), title=title
    )
    await waker.Waker(cast(Client, notes), store.repositories, read).wake(event)
    ((name, state, options),) = notes.started
    assert (name, options["static_summary"], state.title) == (wire.ISSUE_WORKFLOW, summary, title)


@pytest.mark.parametrize(("why_not", "starts"), [("", 1), ("it carries the label 'wip'", 0)])
async def test_a_webhook_starts_only_what_the_repositorys_file_means(
    store: engine.Store, clock: Clock, why_not: str, starts: int
) -> None:
    """The webhook is faster than the intake: it must not be laxer."""
    await store.repositories.upsert(
        repositories.Registration(ref=REPO, policy=policy.RepositoryPolicy(), added_at=clock())
    )
    asked: list[forge.Issue] = []

    async def read(issue: refs.Issue) -> forge.Issue:
        return forge.Issue(ref=issue, labels=(wire.LABEL_TRIGGER, "wip"))

    async def judge(issue: forge.Issue) -> str:
        asked.append(issue)
        return why_not

    notes = Notes()
    event = events.ForgeEvent(kind=events.Kind.WORK_REQUESTED, repo=REPO, issue=1, labels=(wire.LABEL_TRIGGER,))
    await waker.Waker(cast(Client, notes), store.repositories, read, judge).wake(event)
    assert len(notes.started) == starts
    assert [issue.labels for issue in asked] == [(wire.LABEL_TRIGGER, "wip")]

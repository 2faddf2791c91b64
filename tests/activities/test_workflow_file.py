"""WORKFLOW.md on a real forge: the newest version counts at once, a broken one changes nothing and is told."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from activities import opening, starting, workflow_file
from domain import errors, intake, refs, tasks, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from integrations.forge import connect, github
from store import engine
from store.repositories import Registration
from tests.integrations.forge.peer import BOT, BOT_TOKEN, Peer, Work

GOOD = "---\ntracker:\n  exclude_labels: [wip]\nagent:\n  max_turns: 3\n---\nFix {{ issue.title }}\n"
BETTER = GOOD.replace("max_turns: 3", "max_turns: 4")
BROKEN = GOOD.replace("max_turns: 3", "max_turns: 0")


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    running = Peer(tmp_path_factory.mktemp("forge"))
    yield running
    running.stop()


@dataclass
class Place:
    peer: Peer
    work: Work
    forge: github.GitHub
    store: engine.Store

    @property
    def repo(self) -> refs.Repository:
        return self.work.repo

    @property
    def files(self) -> workflow_file.WorkflowFiles:
        return workflow_file.WorkflowFiles(self.forge, self.store)

    async def current(self, **policy: Any) -> workflow_file.Current:
        return await self.files.current(self.repo, RepositoryPolicy(**policy))

    async def register(self, **policy: Any) -> None:
        await self.store.repositories.upsert(
            Registration(ref=self.repo, policy=RepositoryPolicy(**policy), added_at=datetime.now(UTC))
        )

    async def opened(self, issue: refs.Issue) -> tasks.Opened:
        async def fleet() -> ApprovalMode:
            return ApprovalMode.FULL_AUTO

        activities = opening.OpeningActivities(self.forge, self.store, fleet, opening.Defaults(backend="scripted"))
        return await ActivityEnvironment().run(activities.open_run, tasks.OpenRun(issue=issue))


@pytest.fixture
async def place(peer: Peer, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    name = f"r{abs(hash(request.node.name))}"
    work = peer.repository(name, tmp_path / "work", {"app.py": "a = 1\n"})
    store = await engine.open_store(f"sqlite:///{tmp_path}/fettle.db")
    settings = connect.ForgeSettings(api_url=peer.url, token=BOT_TOKEN)
    async with contextlib.aclosing(connect.open_forge(settings)) as adapter:
        yield Place(peer, work, adapter, store)
    peer.admin.delete("/_devforge/faults").raise_for_status()
    await store.aclose()


async def test_a_repository_without_a_file_has_none(place: Place) -> None:
    assert await place.current() == workflow_file.Current()


async def test_a_push_counts_at_once(place: Place) -> None:
    first = place.work.push("main", {"WORKFLOW.md": GOOD})
    found = (await place.current()).workflow
    assert found is not None
    assert (found.agent.max_turns, found.prompt) == (3, "Fix {{ issue.title }}")
    assert (found.source.branch, found.source.commit_sha) == ("main", first)
    second = place.work.push("main", {"WORKFLOW.md": BETTER})
    found = (await place.current()).workflow
    assert found is not None
    assert (found.agent.max_turns, found.source.commit_sha) == (4, second)


async def test_only_the_base_branch_is_read(place: Place) -> None:
    """An agent's own branch, or anybody's pull request, decides nothing."""
    place.work.push("fettle/issue-1-x", {"WORKFLOW.md": GOOD})
    assert (await place.current()).workflow is None
    assert (await place.current(base_branch="fettle/issue-1-x")).workflow is not None


async def test_a_broken_version_keeps_the_last_good_one_and_is_told(place: Place) -> None:
    good = place.work.push("main", {"WORKFLOW.md": GOOD})
    await place.current()
    bad = place.work.push("main", {"WORKFLOW.md": BROKEN})
    for _ in range(2):
        found = await place.current()
        assert not found.blocks
        assert found.workflow is not None
        assert (found.workflow.agent.max_turns, found.workflow.source.commit_sha) == (3, good)
        assert "line 5: agent.max_turns is 0" in found.problem
        assert bad[:9] in found.problem
        assert found.workflow.problem == found.problem
    kept = await place.store.workflow_files.get(place.repo)
    assert kept is not None
    assert kept.problem == found.problem
    place.work.push("main", {"WORKFLOW.md": BETTER})
    mended = await place.current()
    assert (mended.problem, mended.workflow and mended.workflow.agent.max_turns) == ("", 4)
    kept = await place.store.workflow_files.get(place.repo)
    assert kept is not None
    assert kept.problem == ""


async def test_a_broken_version_without_a_good_one_lets_nothing_start(place: Place) -> None:
    place.work.push("main", {"WORKFLOW.md": BROKEN})
    found = await place.current()
    assert found.blocks
    assert found.workflow is None
    assert "agent.max_turns is 0" in found.problem


async def test_a_last_good_version_of_another_branch_is_not_taken(place: Place) -> None:
    place.work.push("main", {"WORKFLOW.md": GOOD})
    await place.current()
    place.work.push("next", {"WORKFLOW.md": BROKEN})
    assert (await place.current(base_branch="next")).blocks


async def test_a_file_that_is_removed_is_forgotten(place: Place) -> None:
    place.work.push("main", {"WORKFLOW.md": GOOD})
    await place.current()
    place.work.git("rm", "-q", "WORKFLOW.md")
    place.work.push("main", {"other.txt": "x"})
    assert await place.current() == workflow_file.Current()
    assert await place.store.workflow_files.get(place.repo) is None


async def test_a_forge_that_does_not_answer_is_no_missing_file(place: Place) -> None:
    place.work.push("main", {"WORKFLOW.md": GOOD})
    place.peer.fault("fail_5xx", status=502, path=f"{place.repo}/contents/.*")
    with pytest.raises(errors.ForgeUnavailable):
        await place.current()


async def test_another_path_and_none_can_be_chosen(place: Place) -> None:
    place.work.push("main", {"WORKFLOW.md": GOOD, ".github/fettle.md": BETTER})
    found = (await place.current(workflow_file=".github/fettle.md")).workflow
    assert found is not None
    assert found.agent.max_turns == 4
    assert await place.current(workflow_file="") == workflow_file.Current()


async def test_a_folder_of_that_name_is_a_mistake(place: Place) -> None:
    place.work.push("main", {"WORKFLOW.md/x": "y"})
    found = await place.current()
    assert found.blocks
    assert "it is a folder" in found.problem


async def test_a_run_keeps_the_version_that_it_started_with(place: Place) -> None:
    await place.register(max_in_flight=2)
    place.work.push(
        "main", {"WORKFLOW.md": GOOD.replace("agent:", "agent:\n  max_concurrent: 9\n  permission_mode: plan")}
    )
    issue = place.peer.issue(place.repo, "It is broken", ["fettle"])
    opened = await place.opened(issue)
    assert (opened.refusal, opened.gone) == ("", "")
    policy = opened.policy
    assert (policy.max_turns, policy.max_in_flight, policy.autonomy) == (3, 2, "plan")
    assert policy.workflow is not None
    assert policy.workflow.prompt == "Fix {{ issue.title }}"
    assert policy.workflow.issue.created_at is not None
    assert RepositoryPolicy.model_validate_json(policy.model_dump_json()) == policy


async def test_a_run_without_a_file_still_knows_its_skills(place: Place) -> None:
    await place.register()
    body = {
        "title": "Deploy",
        "body": "Do it.\n\n## Skills\n- deploy\n- ../x\n",
        "labels": ["fettle"],
        "assignees": [BOT],
    }
    made = place.peer.owner.post(f"/repos/{place.repo}/issues", json=body).raise_for_status().json()
    opened = await place.opened(place.repo.issue(made["number"]))
    assert opened.policy.workflow is not None
    assert opened.policy.workflow.issue.skills == ("deploy",)
    assert opened.policy.workflow.issue.assignees == (BOT,)
    assert opened.policy.workflow.prompt == ""


async def test_a_run_of_an_issue_that_the_file_excludes_has_nothing_to_do(place: Place) -> None:
    await place.register()
    place.work.push("main", {"WORKFLOW.md": GOOD})
    issue = place.peer.issue(place.repo, "It is broken", ["fettle", "WIP"])
    opened = await place.opened(issue)
    assert "carries the label 'wip'" in opened.gone


async def test_a_run_is_refused_in_words_while_no_version_can_be_used(place: Place) -> None:
    await place.register()
    place.work.push("main", {"WORKFLOW.md": BROKEN})
    opened = await place.opened(place.peer.issue(place.repo, "It is broken", ["fettle"]))
    assert "agent.max_turns is 0" in opened.refusal


async def test_a_file_can_ask_for_an_approval_that_the_fleet_does_not(place: Place) -> None:
    await place.register()
    place.work.push("main", {"WORKFLOW.md": "---\ngates:\n  approval_mode: review-all\n---\n"})
    opened = await place.opened(place.peer.issue(place.repo, "It is broken", ["fettle"]))
    assert opened.mode is ApprovalMode.REVIEW_ALL


class Starts:
    """The server's side of a start; there is no schedule to align."""

    def __init__(self) -> None:
        self.started: list[str] = []

    async def start_workflow(self, name: str, state: object, *, id: str, **options: object) -> None:
        assert name == wire.ISSUE_WORKFLOW
        self.started.append(id)


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the schedule would be brought to, in seconds: there is no server here."""
    asked: list[float] = []

    async def align(temporal: object, repo: refs.Repository, every: Any) -> bool:
        asked.append(every.total_seconds())
        return True

    monkeypatch.setattr("activities.intake_pace.align", align)
    return asked


async def look(place: Place) -> tuple[tasks.IntakeResult, list[str]]:
    starts = Starts()
    activities = starting.StartingActivities(place.forge, cast(Any, starts), place.files)
    found = await ActivityEnvironment().run(activities.start_runs, intake.IntakeRequest(repo=place.repo))
    return found, starts.started


async def test_the_intake_starts_what_the_file_means_and_tells_why_not(place: Place, unpaced: list[float]) -> None:
    await place.register()
    place.work.push(
        "main", {"WORKFLOW.md": GOOD.replace("---\ntracker", "---\npolling:\n  interval_ms: 90000\ntracker", 1)}
    )
    wanted = place.peer.issue(place.repo, "It is broken", ["fettle"])
    other = place.peer.issue(place.repo, "Not yet", ["fettle", "wip"])
    found, started = await look(place)
    assert started == [wanted.workflow_id]
    assert found.started == (str(wanted),)
    assert found.skipped == (f"{other}: it carries the label 'wip', which tracker.exclude_labels excludes",)
    assert unpaced == [90]
    place.peer.owner.delete(f"/repos/{place.repo}/issues/{other.number}/labels/wip").raise_for_status()
    _, started = await look(place)
    assert started == [wanted.workflow_id, other.workflow_id]


async def test_a_pace_that_is_faster_than_the_installations_is_not_taken(place: Place, unpaced: list[float]) -> None:
    await place.register()
    place.work.push("main", {"WORKFLOW.md": "---\npolling:\n  interval_ms: 1\n---\n"})
    await look(place)
    assert unpaced == [30]


async def test_the_intake_starts_nothing_while_no_version_can_be_used(place: Place, unpaced: list[float]) -> None:
    await place.register()
    place.work.push("main", {"WORKFLOW.md": BROKEN})
    place.peer.issue(place.repo, "It is broken", ["fettle"])
    found, started = await look(place)
    assert started == []
    assert "agent.max_turns is 0" in found.problem
    place.work.push("main", {"WORKFLOW.md": GOOD})
    found, started = await look(place)
    assert len(started) == 1
    assert found.problem == ""


async def test_an_issue_of_mine_is_one_that_fettle_is_assigned_to(place: Place) -> None:
    await place.register()
    place.work.push("main", {"WORKFLOW.md": "---\ntracker:\n  assignee: '@me'\n---\n"})
    issue = await place.forge.issue(place.peer.issue(place.repo, "It is broken", ["fettle"]))
    assert f"not assigned to {BOT}" in await place.files.why_not(issue)
    await place.forge.assign(issue.ref, BOT)
    assert await place.files.why_not(await place.forge.issue(issue.ref)) == ""


async def test_an_issue_of_a_repository_that_is_not_registered_is_let_through(place: Place) -> None:
    issue = await place.forge.issue(place.peer.issue(place.repo, "It is broken", ["fettle"]))
    assert await place.files.why_not(issue) == ""

"""`fettle breakdown` as people use it: on a real forge, with the real workflow, first on paper and then for certain."""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio import common, worker
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities import edge
from activities.breakdown import BreakdownActivities
from domain import redaction, wire
from integrations.forge import connect
from tests.cli.world import ROOT, Said, asay, say, spawn
from tests.devforge import world as forge_world
from tests.workflows import installation
from workers import topology, versions
from workflows.breakdown import BreakdownWorkflow

_numbers = itertools.count(1)
TOKENS = {login: f"ghp_breakdown-token-of-{login}" for login in ("ada", "fettle")}
SPEC = """# Billing

## Background
We sell things.

## Store the invoices
One row an invoice.

## Render an invoice
Depends on: Store the invoices

## Send it after the login
Depends on: Render an invoice, #1
"""


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_local(**installation.server()) as env:
        yield env


@pytest.fixture(scope="module")
async def office(server: WorkflowEnvironment, forge: forge_world.Server) -> AsyncIterator[forge_world.Client]:
    """A worker with the real workflow and activities; the forge's owner comes back."""
    admin = forge.client(forge_world.ADMIN)
    for login, token in TOKENS.items():
        (await admin.http.post("/_devforge/users", json={"login": login, "token": token})).raise_for_status()
    owner = forge.client(TOKENS["ada"])
    adapter = connect.open_forge(connect.ForgeSettings(api_url=forge.url, token=TOKENS["fettle"]))
    activities = BreakdownActivities(adapter, redaction.Redactor())
    version = common.WorkerDeploymentVersion(deployment_name=wire.DEPLOYMENT, build_id="test")
    temporal = await installation.connect(server)
    async with worker.Worker(
        temporal,
        task_queue=wire.CONTROL_QUEUE,
        workflows=[BreakdownWorkflow],
        activities=[
            activities.survey_repository,
            activities.plan_issues,
            activities.file_issue,
            activities.post_checklist,
        ],
        workflow_runner=topology.runner(),
        interceptors=[edge.ErrorTranslation()],
        deployment_config=worker.WorkerDeploymentConfig(
            version=version,
            use_worker_versioning=True,
            default_versioning_behavior=common.VersioningBehavior.PINNED,
        ),
    ):
        await versions.make_current(temporal, version)
        yield owner
    await adapter.aclose()
    for caller in (owner, admin):
        await caller.http.aclose()


@dataclass
class Place:
    """A repository with one issue, and a spec on disk."""

    repo: str
    spec: Path
    owner: forge_world.Client

    async def say(self, *words: str) -> Said:
        return await asay("breakdown", str(self.spec), "--repo", self.repo, *words)

    async def say_beside(self, *words: str) -> Said:
        """In a process of its own: two command lines in one process would write into each other's output."""
        return await asyncio.to_thread(spawn, "breakdown", str(self.spec), "--repo", self.repo, *words)

    async def begin_beside(self, *words: str) -> asyncio.subprocess.Process:
        """The same, and its output as it comes."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "breakdown", str(self.spec), "--repo", self.repo, *words),
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def issues(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.owner.get(f"/repos/{self.repo}/issues?state=all&direction=asc")
        return found


@pytest.fixture
async def place(
    office: forge_world.Client, server: WorkflowEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.client.service_client.config.target_host)
    name = f"plan{next(_numbers)}"
    await office.post("/user/repos", {"name": name})
    await office.put(f"/repos/ada/{name}/collaborators/fettle", {"permission": "push"}, 204)
    await office.post(f"/repos/ada/{name}/issues", {"title": "An older issue"})
    await office.post(f"/repos/ada/{name}/labels", {"name": "security", "color": "ff0000"})
    spec = tmp_path / "SPEC.md"
    spec.write_text(SPEC)
    return Place(f"ada/{name}", spec, office)


async def test_a_dry_run_shows_the_issues_and_the_command_that_files_them(place: Place) -> None:
    found = await place.say()
    assert found.code == 0, found.err
    rows = [line.split() for line in found.out.splitlines()]
    assert ["3", "Send", "it", "after", "the", "login", "new", "2,", "#1", "security"] in rows
    assert "not issues: Background" in found.out
    assert f"fettle breakdown {place.spec} --repo {place.repo} --apply" in found.out.splitlines()[-1]
    assert len(await place.issues()) == 1


async def test_apply_files_what_was_shown_with_labels_and_dependencies(place: Place) -> None:
    shown = await place.say("--json")
    found = await place.say("--apply", "--json")
    assert found.code == 0, found.err
    assert [i["title"] for i in found.json["issues"]] == [i["title"] for i in shown.json["issues"]]
    assert [i["standing"] for i in found.json["issues"]] == ["filed"] * 3
    _, store, render, send = await place.issues()
    assert store["user"]["login"] == "fettle"
    assert f"Depends on #{store['number']}\n" in render["body"]
    assert f"Depends on #1, #{render['number']}\n" in send["body"]
    assert [label["name"] for label in send["labels"]] == ["security"]


async def test_applying_again_files_nothing_and_says_so(place: Place) -> None:
    await place.say("--apply")
    found = await place.say("--apply")
    assert found.out.splitlines()[-1] == f"0 filed in {place.repo}, read from the spec by rules"
    assert len(await place.issues()) == 4


@pytest.mark.slow
async def test_the_same_command_joins_and_another_one_is_refused_while_a_breakdown_works(
    place: Place, forge: forge_world.Server, server: WorkflowEnvironment
) -> None:
    admin = forge.client(forge_world.ADMIN)
    down = {"kind": "fail_5xx", "forever": True, "path": f"{place.repo}/labels$"}  # so it works until we take this back
    outage = await admin.post("/_devforge/faults", down)
    first = asyncio.create_task(place.say_beside("--apply", "--json"))
    await forge_world.eventually(lambda: _works(server, place.repo), "the breakdown has begun")
    other = await place.say_beside("--max", "2")
    joining = await place.begin_beside("--apply", "--json")
    assert joining.stderr is not None
    while b"joining the breakdown" not in (line := await joining.stderr.readline()):
        assert line, "it ended without a word of joining"
    await admin.delete(f"/_devforge/faults/{outage['id']}")
    await admin.http.aclose()
    joined, _ = await joining.communicate()
    done = await first
    assert (done.code, joining.returncode, other.code) == (0, 0, 1)
    assert "being broken down already, for another command" in other.err
    assert json.loads(joined) == done.json
    assert len(await place.issues()) == 4


async def _works(server: WorkflowEnvironment, repo: str) -> bool | None:
    """True once the breakdown is on the server."""
    try:
        await server.client.get_workflow_handle(f"breakdown/{repo}/spec").describe()
    except RPCError:
        return None
    return True


async def test_the_checklist_is_kept_on_the_tracking_issue(place: Place) -> None:
    for more in ((), ("--apply",)):
        found = await place.say("--tracking", "1", *more)
        assert "checklist: http" in found.out
    [comment] = await place.owner.get(f"/repos/{place.repo}/issues/1/comments")
    assert "- [ ] #3 Render an invoice (after “Store the invoices”)" in comment["body"]


async def test_a_label_for_every_issue_may_start_their_runs(place: Place) -> None:
    refused = await place.say("--apply", "--label", "fettle")
    assert (refused.code, len(await place.issues())) == (1, 1)
    assert f"{place.repo} has no such label" in refused.err
    await place.owner.post(f"/repos/{place.repo}/labels", {"name": "fettle", "color": "0e8a16"})
    shown = (await place.say("--label", "fettle", "--max", "2")).out.splitlines()[-1]
    assert shown.endswith(f"{place.spec} --repo {place.repo} --max 2 --label fettle --apply")
    assert (await place.say("--apply", "--label", "fettle")).code == 0
    assert all("fettle" in {label["name"] for label in i["labels"]} for i in (await place.issues())[1:])


async def test_a_spec_that_depends_on_another_repository_is_refused_in_one_sentence(place: Place) -> None:
    place.spec.write_text("- [ ] Do it\n  Depends on: acme/other#4\n")
    found = await place.say("--apply")
    assert (found.code, found.out) == (1, "")
    assert "SPEC.md was not broken down: 'Do it' depends on acme/other#4, the breakdown is of ada/" in found.err


async def test_a_secret_in_a_spec_is_masked_before_it_leaves_this_process(place: Place) -> None:
    token = "ghp_" + "a1B2" * 9
    place.spec.write_text(f"- [ ] Rotate {token}\n")
    found = await place.say("--apply", "--json")
    assert "holds what looks like a secret" in found.err
    assert token not in found.out + json.dumps(await place.issues())


async def test_a_repository_that_is_not_there_fails_with_the_forges_words(place: Place) -> None:
    place.repo = "ada/nothing"
    found = await place.say()
    assert found.code == 1
    assert "could not read repository ada/nothing" in found.err


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"\xff\xfe\x00", "is not UTF-8"), (b" \n", "is empty"), (b"x" * 60_001, "split it")],
)
def test_a_file_that_is_no_spec_is_a_usage_error(tmp_path: Path, content: bytes | None, words: str) -> None:
    spec = tmp_path / "SPEC.md"
    if content is not None:
        spec.write_bytes(content)
    found = say("breakdown", str(spec), "--repo", "acme/api")
    assert found.code == 2
    assert words in found.err


@pytest.mark.parametrize("words", [("--max", "16"), ("--max", "0"), ("--repo", "nonsense")])
def test_what_cannot_be_meant_is_a_usage_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "SPEC.md").write_text("- [ ] a\n")
    assert say("breakdown", str(tmp_path / "SPEC.md"), "--repo", "acme/api", *words).code == 2

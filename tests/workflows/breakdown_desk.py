"""A forge in memory behind the real activities of a breakdown, and workers of their own for it."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from temporalio import client, common, worker

from activities import edge
from activities.breakdown import BreakdownActivities, BreakdownJudgementActivities
from domain import breakdown, errors, forge, redaction, refs, wire
from integrations.agent import judge, scripted
from integrations.forge import markers
from tests.workflows import installation
from workers import topology, versions

REPO = refs.Repository(owner="acme", name="plans")
ME = "fettle-bot"
SPEC = """# Billing

- [ ] Store the invoices
  One row an invoice.
- [ ] Render an invoice as PDF
  Depends on: Store the invoices
- [ ] Send it to the login of the customer
  Depends on: Render an invoice as PDF, #1
- [x] Choose a name
"""


@dataclass
class Desk:
    """One repository's issues. `before` and `after` hold failures around the next filing; `on_filing` looks on."""

    issues: list[forge.Issue] = field(default_factory=list)
    labels: list[str] = field(default_factory=lambda: ["bug", "Security", "fettle"])
    archived: bool = False
    comments: dict[tuple[int, str], str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    before: list[errors.FettleError] = field(default_factory=list)
    after: list[errors.FettleError] = field(default_factory=list)
    on_filing: Callable[[], Any] | None = None

    def add(self, title: str, *, body: str = "", author: str = "ann", labels: Sequence[str] = ()) -> forge.Issue:
        made = forge.Issue(
            ref=REPO.issue(len(self.issues) + 1),
            title=title,
            body=body,
            author=author,
            labels=tuple(labels),
            html_url=f"https://forge.test/{len(self.issues) + 1}",
        )
        self.issues.append(made)
        return made

    def clear(self) -> None:
        """As it was at first: the next test begins."""
        vars(self).update(vars(Desk()))

    @property
    def filed(self) -> list[forge.Issue]:
        return [issue for issue in self.issues if issue.author == ME]

    # --- the port ---

    async def whoami(self) -> str:
        return ME

    async def repository(self, repo: refs.Repository) -> forge.RepositoryFacts:
        self.calls["repository"] += 1
        if repo != REPO:
            raise errors.NotFound(f"could not read repository {repo}: the forge answered 404")
        return forge.RepositoryFacts(ref=repo, default_branch="main", archived=self.archived)

    async def label_names(self, repo: refs.Repository) -> list[str]:
        return self.labels

    async def newest_issues(self, repo: refs.Repository, *, most: int) -> list[forge.Issue]:
        return self.issues[::-1][:most]

    async def issue(self, issue: refs.Issue) -> forge.Issue:
        if found := next((i for i in self.issues if i.ref == issue), None):
            return found
        raise errors.NotFound(f"could not read {issue}: the forge answered 404")

    async def file_issue(
        self, repo: refs.Repository, *, key: str, title: str, body: str, labels: Sequence[str], since: datetime
    ) -> forge.Filed:
        self.calls["file_issue"] += 1
        if self.on_filing is not None:
            await self.on_filing()
        if self.before:
            raise self.before.pop(0)
        found = next((i for i in self.filed if markers.is_marked(key, i.body)), None)
        made = found or self.add(title, body=markers.marked(key, body), author=ME, labels=labels)
        if self.after:
            raise self.after.pop(0)
        return forge.Filed(issue=made, already_made=found is not None)

    async def say(self, issue: refs.Issue, *, key: str, body: str) -> forge.Comment:
        self.comments[issue.number, key] = body
        return forge.Comment(id=1, body=body, html_url="https://forge.test/c1")


@dataclass
class Office:
    """The workers, their forge, and the client."""

    temporal: client.Client
    desk: Desk
    control: BreakdownActivities

    def choose_judge(self, name: str) -> None:
        """Which judge the installation has, as its settings would say: `none` or `scripted`."""
        object.__setattr__(self.control, "judge", name)

    async def start(self, text: str = SPEC, **more: Any) -> client.WorkflowHandle[Any, breakdown.Outcome]:
        request = breakdown.Request(repo=REPO, spec="SPEC.md", text=text, asked_by="ann", **more)
        return await self.temporal.start_workflow(
            wire.BREAKDOWN_WORKFLOW,
            request,
            id=breakdown.workflow_id(request.repo, request.spec),
            task_queue=wire.CONTROL_QUEUE,
            result_type=breakdown.Outcome,
        )

    async def run(self, text: str = SPEC, **more: Any) -> breakdown.Outcome:
        return await (await self.start(text, **more)).result()


@asynccontextmanager
async def opened(temporal: client.Client, script: Path) -> AsyncIterator[Office]:
    """Workers as `workers.bootstrap` starts them; the judge plays `script` once it is chosen."""
    desk = Desk()
    redactor = redaction.Redactor(frozenset({"held-secret-value"}))
    control = BreakdownActivities(desk, redactor)  # type: ignore[arg-type] # the methods that a breakdown calls
    judged = judge.ScriptedJudge(scripted.ScriptedSettings(script=script))
    agents = BreakdownJudgementActivities(judged, redactor)
    shared: Mapping[str, Any] = {"interceptors": [edge.ErrorTranslation()], "identity": installation.IDENTITY}
    version = common.WorkerDeploymentVersion(deployment_name=wire.DEPLOYMENT, build_id=installation.BUILD)
    async with (
        worker.Worker(temporal, task_queue=wire.AGENTS_QUEUE, activities=[agents.judge_breakdown], **shared),
        worker.Worker(
            temporal,
            task_queue=wire.CONTROL_QUEUE,
            workflows=topology.WORKFLOWS,
            activities=[control.survey_repository, control.plan_issues, control.file_issue, control.post_checklist],
            workflow_runner=topology.runner(),
            deployment_config=worker.WorkerDeploymentConfig(
                version=version,
                use_worker_versioning=True,
                default_versioning_behavior=common.VersioningBehavior.PINNED,
            ),
            **shared,
        ),
    ):
        await versions.make_current(temporal, version)
        yield Office(temporal, desk, control)

"""Break a spec down into issues: read the repository, ask a model, plan against what exists, file what is new."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from temporalio import activity

from activities import judging
from domain import breakdown, breakdown_plan, breakdown_tasks, errors, forge, refs, wire
from domain.redaction import Redactor
from integrations.agent.judge import Judge
from integrations.forge import markers, port

NEWEST_ISSUES: Final = 5_000
"""Issues and pull requests that a plan is compared with: fifty calls."""
_MOST_NAMED: Final = 20
"""Older issues that a spec names: each costs a call."""


@dataclass(frozen=True)
class BreakdownActivities:
    """`judge` is the name of the configured judge, which runs on agent hosts."""

    forge: port.Forge
    redactor: Redactor
    judge: str = "none"

    @activity.defn(name=wire.SURVEY_REPOSITORY)
    async def survey_repository(self, request: breakdown_tasks.Survey) -> breakdown_tasks.Surveyed:
        """Read what a breakdown has to know beforehand. Running twice is safe: it only reads.

        Raises:
            errors.NotFound: there is no such repository, or we may not see it.
        """
        facts = await self.forge.repository(request.repo)
        labels = await self.forge.label_names(request.repo)
        return breakdown_tasks.Surveyed(
            labels=tuple(labels),
            judge=self.judge,
            refusal=_refusal(facts, labels, request) or await self._tracking_refusal(request),
        )

    @activity.defn(name=wire.PLAN_ISSUES)
    async def plan_issues(self, request: breakdown_tasks.PlanIssues) -> breakdown.Plan:
        """Hold a draft against the repository's issues. Running twice is safe: it only reads."""
        looked_at = datetime.now(UTC)
        me = await self.forge.whoami()
        issues = await self.forge.newest_issues(request.repo, most=NEWEST_ISSUES)
        known = [_known(issue, me) for issue in issues]
        known += await self._named(request.repo, request.draft.items, {issue.number for issue in known})
        plan = breakdown_plan.settle(
            request.draft, known, request.known_labels, spec=request.spec, most=request.most, always=request.labels
        )
        return plan.model_copy(update={"looked_at": looked_at})

    @activity.defn(name=wire.FILE_ISSUE)
    async def file_issue(self, request: breakdown_tasks.FileIssue) -> breakdown_tasks.FiledIssue:
        """File one issue. Running twice is safe: it is looked up by its key before it is opened."""
        filed = await self.forge.file_issue(
            request.repo,
            key=request.key,
            title=self.redactor.redact(request.title),
            body=self.redactor.redact(request.body),
            labels=request.labels,
            since=request.since,
        )
        return breakdown_tasks.FiledIssue(
            number=filed.issue.ref.number, url=filed.issue.html_url, made=not filed.already_made
        )

    @activity.defn(name=wire.POST_CHECKLIST)
    async def post_checklist(self, request: breakdown_tasks.PostChecklist) -> breakdown_tasks.Posted:
        """Keep the checklist on the tracking issue. Running twice is safe: the comment is found by its key."""
        said = await self.forge.say(request.issue, key=request.key, body=self.redactor.redact(request.body))
        return breakdown_tasks.Posted(url=said.html_url)

    async def _tracking_refusal(self, request: breakdown_tasks.Survey) -> str:
        if not request.tracking:
            return ""
        try:
            await self.forge.issue(request.repo.issue(request.tracking))
        except errors.NotFound:
            return (
                f"the checklist was to stand on {request.repo}#{request.tracking}, there is no such issue: "
                "correct --tracking"
            )
        return ""

    async def _named(
        self, repo: refs.Repository, items: Iterable[breakdown.Item], seen: set[int]
    ) -> list[breakdown.Known]:
        """Issues that the draft names and that are older than those that were listed."""
        found = []
        for number in sorted({number for item in items for number in item.issues} - seen)[:_MOST_NAMED]:
            try:
                issue = await self.forge.issue(repo.issue(number))
            except errors.NotFound:
                continue
            found.append(breakdown.Known(number=number, title=issue.title, open=issue.open, url=issue.html_url))
        return found


@dataclass(frozen=True)
class BreakdownJudgementActivities:
    """The judgement that needs no worktree. It runs on agent hosts, where the model CLIs are. `till` None: the judge
    costs nothing."""

    judge: Judge
    redactor: Redactor
    till: judging.Till | None = None

    @activity.defn(name=wire.JUDGE_BREAKDOWN)
    async def judge_breakdown(self, request: breakdown_tasks.JudgeBreakdown) -> breakdown.Draft:
        """Ask the model for issues. Running twice is safe: it only reads, and each call is paid once.

        Raises:
            errors.TurnNotYet: no money, or the provider refuses for a while.
            errors.JudgeFailed: no usable answer, or none with an issue in it; the rule stands.
        """
        inputs = {
            "name": request.spec,
            "spec": self.redactor.redact(request.text),
            "labels": list(request.labels),
            "most": breakdown.MOST_ITEMS,
        }
        case = judging.Case("breakdown", breakdown.workflow_id(request.repo, request.spec), request.repo)

        def draft(advice: breakdown.Advice) -> breakdown.Draft:
            made = breakdown.from_advice(advice, request.text, by=self.judge.name)
            if not made.items:
                raise errors.JudgeFailed(
                    f"'{request.spec}' was to become issues, {self.judge.name} proposed none with a title: ask again, "
                    "or write the spec as checkboxes"
                )
            return made

        return draft(await judging.ask(self.judge, self.till, case, inputs, breakdown.Advice, check=draft))


def _known(issue: forge.Issue, me: str) -> breakdown.Known:
    ours = bool(me) and issue.author.casefold() == me.casefold()
    return breakdown.Known(
        number=issue.ref.number,
        title=issue.title,
        open=issue.open,
        url=issue.html_url,
        key=markers.key_of(issue.body) if ours else "",
    )


def _refusal(facts: forge.RepositoryFacts, labels: Iterable[str], request: breakdown_tasks.Survey) -> str:
    if facts.archived:
        return f"{request.repo} takes no issues, it is archived: unarchive it on the forge first"
    known = {name.casefold() for name in labels}
    if unknown := [name for name in request.wanted_labels if name.casefold() not in known]:
        return (
            f"every issue was to get the label {', '.join(unknown)}, {request.repo} has no such label: "
            "create it on the forge, or leave --label out"
        )
    return ""

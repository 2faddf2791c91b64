"""A breakdown: a spec is read once, held against the repository, and what is new is filed issue by issue."""

import asyncio

from temporalio import common, exceptions, workflow

from activities import options
from activities.breakdown import BreakdownActivities, BreakdownJudgementActivities
from domain import breakdown, breakdown_rules, breakdown_tasks, errors, wire
from domain.numerals import counted
from workflows import watching


@workflow.defn(name=wire.BREAKDOWN_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class BreakdownWorkflow:
    """Id `breakdown/<owner>/<repo>/<spec>`, one at a time, minutes long. Another one may follow it: issues are found by
    their keys, so it files only what is not there."""

    @workflow.init
    def __init__(self, request: breakdown.Request) -> None:
        self._request = request
        self._outcome = breakdown.Outcome(repo=request.repo, spec=request.spec, applied=request.apply)

    @workflow.query(name=wire.SNAPSHOT, description="What is proposed, and what of it is filed")
    def snapshot(self) -> breakdown.Outcome:
        return self._outcome

    @workflow.run
    async def run(self, _: breakdown.Request) -> breakdown.Outcome:
        try:
            await self._drive()
        except (asyncio.CancelledError, exceptions.FailureError) as stop:  # a bug is neither: it stalls
            said = watching.error_message(stop) if isinstance(stop, exceptions.FailureError) else ""
            self._show(f"stopped: {workflow.cancellation_reason() or said}")
            raise
        self._show(self._outcome.refusal or ("filed" if self._request.apply else "proposed, nothing is filed"))
        return self._outcome

    async def _drive(self) -> None:
        surveyed = await self._survey()
        draft = None if surveyed.refusal else await self._draft(surveyed)
        if draft is None:
            self._outcome.refusal = self._outcome.refusal or surveyed.refusal
            return
        self._outcome.draft = draft
        self._outcome.plan = await self._plan(draft, surveyed.labels)
        self._show("planned")
        if self._request.apply:
            for item in self._outcome.plan.new:  # in order: an issue's dependencies have their numbers before it
                await self._file(item)
                await watching.stop_if_cancelled()
        if self._request.tracking:
            await self._keep_checklist()

    async def _survey(self) -> breakdown_tasks.Surveyed:
        request = self._request
        question = breakdown_tasks.Survey(repo=request.repo, wanted_labels=request.labels, tracking=request.tracking)
        return await workflow.execute_activity_method(
            BreakdownActivities.survey_repository, question, summary="labels of the repository", **options.FORGE
        )

    async def _draft(self, surveyed: breakdown_tasks.Surveyed) -> breakdown.Draft | None:
        """What was shown before is filed as it was; else the model proposes; the rule stands in for it, and says so."""
        if self._request.draft is not None and self._request.draft.digest == breakdown.digest(self._request.text):
            return self._request.draft
        silent = ""
        if surveyed.judge != "none":
            try:
                return await self._ask(surveyed)
            except exceptions.ActivityError as error:
                if exceptions.is_cancelled_exception(error):
                    raise
                silent = f"{surveyed.judge} gave no breakdown ({watching.error_message(error)}): this one is by rule"
        try:
            draft = breakdown_rules.draft(self._request.text, self._request.repo)
        except errors.Refused as refused:
            self._outcome.refusal = str(refused)
            return None
        return draft.model_copy(update={"warnings": (silent, *draft.warnings)}) if silent else draft

    async def _ask(self, surveyed: breakdown_tasks.Surveyed) -> breakdown.Draft:
        request = self._request
        question = breakdown_tasks.JudgeBreakdown(
            repo=request.repo, spec=request.spec, text=request.text, labels=surveyed.labels[:200]
        )
        return await workflow.execute_activity_method(
            BreakdownJudgementActivities.judge_breakdown,
            question,
            summary=f"issues as {surveyed.judge} proposes them",
            **options.ADVISE,
        )

    async def _plan(self, draft: breakdown.Draft, known_labels: tuple[str, ...]) -> breakdown.Plan:
        request = self._request
        question = breakdown_tasks.PlanIssues(
            repo=request.repo,
            spec=request.spec,
            draft=draft,
            known_labels=known_labels,
            labels=request.labels,
            most=request.most,
        )
        return await workflow.execute_activity_method(
            BreakdownActivities.plan_issues,
            question,
            summary=f"{counted(len(draft.items), 'issue')} by {draft.by} against what exists",
            **options.FORGE,
        )

    async def _file(self, item: breakdown.Planned) -> None:
        plan = self._outcome.plan
        assert plan is not None  # for the type checker: `item` is one of its items
        order = breakdown_tasks.FileIssue(
            repo=self._request.repo,
            key=breakdown.issue_key(self._request.spec, item.key),
            title=item.title,
            body=breakdown.body(item, plan, spec=self._request.spec),
            labels=item.labels,
            since=plan.looked_at or workflow.info().start_time,
        )
        filed = await workflow.execute_activity_method(
            BreakdownActivities.file_issue, order, summary=f"file: {item.title}"[:200], **options.FORGE
        )
        self._outcome.plan = plan.with_filed(item.key, number=filed.number, url=filed.url, made=filed.made)
        self._show(f"filed #{filed.number}")

    async def _keep_checklist(self) -> None:
        order = breakdown_tasks.PostChecklist(
            issue=self._request.repo.issue(self._request.tracking),
            key=breakdown.checklist_key(self._request.spec),
            body=breakdown.checklist(self._outcome),
        )
        posted = await workflow.execute_activity_method(
            BreakdownActivities.post_checklist, order, summary=f"checklist on {order.issue}", **options.FORGE
        )
        self._outcome.checklist_url = posted.url

    def _show(self, doing: str) -> None:
        rows = [f"**{self._request.spec}** into issues of {self._request.repo}: {doing}"]
        if self._outcome.plan is not None:
            rows += ["", breakdown.checklist(self._outcome)]
        workflow.set_current_details("\n".join(rows)[:15_000])

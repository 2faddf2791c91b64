"""From a label to a place to work: open, triage, claim, wait for dependencies, approval and admission."""

from temporalio import exceptions, workflow

from activities import options
from activities.admission import AdmissionActivities
from activities.claiming import ClaimingActivities
from activities.opening import OpeningActivities
from activities.reviewing import JudgementActivities
from domain import outcomes, steps, tasks, triage, words
from workflows import watching
from workflows.issue_messages import IssueMessages


class OpeningSteps(IssueMessages):
    """The steps of `workflows.issue` before the agent works."""

    async def _open(self) -> None:
        state = self._state
        opened = await workflow.execute_activity_method(
            OpeningActivities.open_run, tasks.OpenRun(issue=state.issue), summary=str(state.issue), **options.FORGE
        )
        outcomes.after_opening(state, opened)

    async def _triage(self) -> None:
        state = self._state
        found = triage.by_rules(state.issue, state.body, state.labels)
        if state.judge != "none":
            found = await self._triage_by_model(found)
        outcomes.after_triage(state, found)

    async def _triage_by_model(self, found: triage.Triage) -> triage.Triage:
        state = self._state
        request = tasks.JudgeTriage(issue=state.issue, title=state.title, body=state.body, backend=state.backend)
        try:
            advice = await workflow.execute_activity_method(
                JudgementActivities.judge_triage,
                request,
                summary="triage by a model",
                **options.ADVISE,
            )
        except exceptions.ActivityError as error:
            if exceptions.is_cancelled_exception(error):
                raise
            why = f"{watching.error_type(error)}: {watching.error_message(error)}"[:500]
            return found.model_copy(update={"reason": f"labels, body; no model answered ({why})"})
        return triage.advised(found, advice)

    async def _claim(self) -> None:
        await workflow.execute_activity_method(
            ClaimingActivities.claim_issue,
            tasks.ClaimIssue(issue=self._state.issue, body=words.claimed(self._state)),
            summary="labels and status comment",
            **options.FORGE,
        )
        self._state.claimed = True

    async def _await_dependencies(self) -> None:
        state = self._state
        assert state.triage is not None
        request = tasks.WatchDependencies(
            repo=state.issue.repo, numbers=state.triage.depends_on, waiting=state.issue.number
        )
        answer = await watching.until(
            workflow.start_activity_method(
                ClaimingActivities.watch_dependencies,
                request,
                summary=f"until {', '.join(f'#{n}' for n in request.numbers)} are done",
                **options.watch(request.poll_seconds),
            ),
            self._interrupted,
        )
        if answer is not None:
            outcomes.after_dependencies(state, answer)

    async def _await_dispatch(self) -> None:
        await workflow.wait_condition(self._interrupted)

    def _admission_request(self) -> tasks.RequestAdmission:
        state = self._state
        return tasks.RequestAdmission(
            repo=state.issue.repo,
            run=state.issue.workflow_id,
            priority=state.priority,
            max_in_flight=state.policy.max_in_flight,
            state=steps.tracker_state(state),
            state_limit=state.policy.state_limits.get(steps.tracker_state(state)),
            max_collision=state.max_collision,
            base_branch=state.base_branch,
        )

    async def _admit(self) -> None:
        state = self._state
        assert state.triage is not None
        if not state.admission_asked:
            request = self._admission_request()
            admission = await watching.finished(
                workflow.start_activity_method(
                    AdmissionActivities.request_admission,
                    request,
                    summary="ask for a place",
                    **options.FORGE,
                )
            )
            # A release or an edit that came meanwhile has changed what is asked. Before path leases it was lost: runs
            # that know nothing of them replay like that.
            leases = bool(state.behind) or state.leases_waived
            state.admission_asked = not leases or request == self._admission_request()
            state.admitted = state.admitted or admission.granted
        await workflow.wait_condition(lambda: self._interrupted() or not state.admission_asked)

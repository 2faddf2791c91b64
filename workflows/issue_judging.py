"""From a pushed head to a merge that may be made: publish, inspect, review, CI, the gate; all about one head."""

from temporalio import exceptions, workflow

from activities import options
from activities.ci import CiActivities
from activities.pull_request import PullRequestActivities
from activities.reviewing import JudgementActivities, ReviewPostingActivities
from domain import checks, outcomes, review, tasks, words
from workflows import watching
from workflows.issue_messages import IssueMessages


class JudgingSteps(IssueMessages):
    """The steps of `workflows.issue` after the agent's work is pushed."""

    async def _publish(self) -> None:
        state = self._state
        assert state.change is not None
        request = tasks.Publish(
            issue=state.issue,
            branch=state.branch,
            base_branch=state.base_branch,
            head_sha=state.change.head_sha,
            title=words.pull_title(state),
            body=words.pull_body(state, state.summary),
            status=words.published(state),
        )
        published = await watching.finished(
            workflow.start_activity_method(
                PullRequestActivities.publish_pull_request,
                request,
                summary=f"draft pull request at {state.change.head_sha[:9]}",
                **options.FORGE,
            )
        )
        state.pull = published.pull
        if published.head_sha and published.head_sha != state.change.head_sha:
            outcomes.head_moved(state, published.head_sha)
        state.change.published_at = published.at

    async def _inspect(self) -> None:
        state = self._state
        assert state.change is not None
        seen = await workflow.execute_activity_method(
            PullRequestActivities.inspect_head,
            tasks.InspectHead(repo=state.issue.repo, base_branch=state.base_branch, pull=self._pull()),
            summary=f"{state.change.head_sha[:9]}, pushed by somebody else",
            **options.FORGE,
        )
        outcomes.after_inspection(state, seen)
        state.change.published_at = workflow.now()

    async def _review(self) -> None:
        state = self._state
        change = state.change
        assert change is not None
        if state.judge == "none":
            change.review = review.by_rules(
                change.head_sha,
                change.paths,
                change.added_lines,
                change.removed_lines,
                change.warnings,
                file_count=change.size,
            )
            return
        found = await workflow.execute_activity_method(
            JudgementActivities.judge_review,
            tasks.JudgeReview(
                issue=state.issue,
                title=state.title,
                body=state.body,
                base_sha=change.base_sha,
                head_sha=change.head_sha,
                warnings=change.warnings,
            ),
            summary=f"review {change.head_sha[:9]}",
            **options.JUDGE,
        )
        if state.change is change:
            change.review = found

    async def _post_review(self) -> None:
        state = self._state
        assert state.change is not None
        assert state.change.review is not None
        await workflow.execute_activity_method(
            ReviewPostingActivities.post_review,
            tasks.PostReview(pull=self._pull(), review=state.change.review),
            summary=f"{state.change.review.verdict} by {state.change.review.by}",
            **options.FORGE,
        )
        state.change.review_posted = True
        outcomes.after_review(state)

    async def _await_ci(self) -> None:
        state = self._state
        change = state.change
        assert change is not None
        poll = checks.PollRequest(
            repo=state.issue.repo,
            sha=change.head_sha,
            base_branch=state.base_branch,
            ignored=state.policy.ignored_checks,
            registration_seconds=state.policy.check_registration_seconds,
            since=change.published_at,
        )
        try:
            polled = await watching.until(
                workflow.start_activity_method(
                    CiActivities.poll_checks,
                    tasks.PollChecks(request=poll, pull=self._pull()),
                    summary=f"CI of {change.head_sha[:9]}",
                    **options.watch(state.ci_poll_seconds, state.policy.ci_timeout_seconds),
                ),
                self._interrupted,
            )
        except exceptions.ActivityError as error:
            if not watching.ran_out(error):
                raise
            note = watching.error_message(error)
            outcomes.after_ci(state, checks.Verdict(head_sha=change.head_sha, result=checks.Result.SILENT, note=note))
            return
        if polled is None:
            return
        if polled.facts is not None:
            outcomes.absorb(state, polled.facts)
        elif polled.verdict is not None:
            outcomes.after_ci(state, polled.verdict, polled.log_tail)

    async def _mark_ready(self) -> None:
        assert self._state.pull is not None
        await workflow.execute_activity_method(
            PullRequestActivities.mark_ready,
            tasks.MarkReady(pull=self._pull()),
            summary="draft → ready",
            **options.FORGE,
        )
        self._state.pull.ready = True

    async def _await_approval(self) -> None:
        state = self._state
        change = state.change
        assert change is not None
        watch = tasks.WatchGate(issue=state.issue, pull=self._pull(), head_sha=change.head_sha)
        facts = await watching.until(
            workflow.start_activity_method(
                PullRequestActivities.watch_gate,
                watch,
                summary=f"a person's word on {change.head_sha[:9]}",
                **options.watch(state.gate_poll_seconds),
            ),
            self._interrupted,
        )
        if facts is not None:
            state.hold = None
            outcomes.absorb(state, facts)

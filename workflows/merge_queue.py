"""The merge queue of one branch: take the next entry, test its candidate, ask its owner, merge what was tested."""

import asyncio

from temporalio import common, exceptions, workflow

from activities import options
from activities.admission import AdmissionActivities
from activities.ci import CiActivities
from activities.merging import MergeActivities
from domain import checks, merge_queue, tasks, wire
from domain.merge_queue import CandidateState, End, Ended, Entry
from workflows import watching


@workflow.defn(name=wire.MERGE_QUEUE_WORKFLOW, versioning_behavior=common.VersioningBehavior.PINNED)
class MergeQueueWorkflow:
    """Id `merge-queue/<owner>/<repo>/<branch>`; started by the first request, never ends by itself."""

    @workflow.init
    def __init__(self, state: merge_queue.State) -> None:
        self._state = state

    @workflow.signal(name=wire.MERGE_REQUESTED, description="Line up one pull request at one head")
    def merge_requested(self, entry: Entry) -> None:
        self._state.request(entry)

    @workflow.signal(name=wire.MERGE_WITHDRAWN, description="Take a run's entry out")
    async def merge_withdrawn(self, withdrawal: merge_queue.Withdrawal) -> None:
        self._state.withdraw(withdrawal)
        current = self._state.current
        if current is None or current.run != withdrawal.run:  # the loop answers once nothing of it can merge any more
            await self._tell(withdrawal.run, self._state.word_on(withdrawal))

    @workflow.query(name=wire.SNAPSHOT, description="Who is being merged and who waits")
    def snapshot(self) -> merge_queue.State:
        return self._state

    @workflow.run
    async def run(self, _: merge_queue.State) -> None:
        while True:
            workflow.set_current_details(self._card())
            await workflow.wait_condition(
                lambda: bool(self._state.entries) or self._state.current is not None or self._due()
            )
            if self._due():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(
                    self._state, initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
                )
            entry = self._state.current or self._state.take()
            if entry is None:
                continue
            ended = await self._work(entry)
            self._state.finish(entry.run, ended)
            await self._tell(entry.run, ended)

    def _due(self) -> bool:
        info = workflow.info()
        due = info.is_continue_as_new_suggested() or info.is_target_worker_deployment_version_changed()
        return due and self._state.current is None

    async def _work(self, entry: Entry) -> Ended:
        """One entry to its end. A base that moved after the clearance ends it too: the clearance was for that base, and
        the owner asks again. An error that no retry helped is told to the owner, who asks a person."""
        workflow.set_current_details(self._card())
        try:
            return await self._attempt(entry)
        except exceptions.ActivityError as error:
            if exceptions.is_cancelled_exception(error):
                raise
            sentence = f"{watching.error_type(error)}: {watching.error_message(error)}"
            return Ended(head_sha=entry.head_sha, end=End.REFUSED, sentence=sentence)

    async def _attempt(self, entry: Entry) -> Ended:
        state = self._state
        state.candidate = candidate = await workflow.execute_activity_method(
            MergeActivities.build_candidate,
            merge_queue.BuildCandidate(entry=entry, branch=state.branch),
            summary=f"{entry.pull} at {entry.head_sha[:9]} on {state.branch}",
            **options.FORGE,
        )
        if refused := merge_queue.refusal(entry, candidate):
            return refused
        if candidate.state is CandidateState.TO_TEST:
            polled = await self._test(entry, candidate)
            if isinstance(polled, Ended):
                return polled
        if against := await self._refused_by_owner(entry, candidate):
            return Ended(head_sha=entry.head_sha, end=End.WITHDRAWN, sentence=against)
        return await asyncio.shield(
            workflow.execute_activity_method(
                MergeActivities.merge_candidate,
                merge_queue.MergeCandidate(entry=entry, branch=state.branch, candidate=candidate),
                summary=f"merge {entry.pull} at {entry.head_sha[:9]}",
                **options.MERGE,
            )
        )

    async def _test(self, entry: Entry, candidate: merge_queue.Candidate) -> Ended | None:
        poll = checks.PollRequest(
            repo=self._state.repo,
            sha=candidate.tested_sha,
            base_branch=self._state.branch,
            ignored=entry.ignored_checks,
            registration_seconds=entry.registration_seconds,
            since=workflow.now(),
        )
        try:
            polled = await watching.until(
                workflow.start_activity_method(
                    CiActivities.poll_checks,
                    tasks.PollChecks(request=poll),
                    summary=f"CI of the candidate {candidate.tested_sha[:9]}",
                    **options.watch(entry.ci_poll_seconds, entry.ci_timeout_seconds),
                ),
                lambda: self._state.withdrawn,
            )
        except exceptions.ActivityError as error:
            if not watching.ran_out(error):
                raise
            verdict = checks.Verdict(
                head_sha=candidate.tested_sha,
                result=checks.Result.SILENT,
                note=watching.error_message(error),
            )
            return merge_queue.verdict_refusal(entry, verdict)
        if polled is None or polled.verdict is None:
            return Ended(head_sha=entry.head_sha, end=End.WITHDRAWN, sentence="withdrawn during its candidate's test")
        self._state.tested = polled.verdict
        refused = merge_queue.verdict_refusal(entry, polled.verdict)
        return refused.model_copy(update={"detail": polled.log_tail}) if refused else None

    async def _refused_by_owner(self, entry: Entry, candidate: merge_queue.Candidate) -> str:
        """Ask the owner in the last moment: empty when it clears this head. Holds and new heads are decided where they
        arrive, so the answer and a hold can never both win."""
        question = merge_queue.ClearanceQuestion(
            run=entry.run, head_sha=entry.head_sha, tested_sha=candidate.tested_sha, base_sha=candidate.base_sha
        )
        try:
            clearance = await workflow.execute_activity_method(
                AdmissionActivities.ask_clearance,
                question,
                summary=f"may {entry.head_sha[:9]} merge now",
                **options.CLEARANCE,
            )
        except exceptions.ActivityError as silence:
            if exceptions.is_cancelled_exception(silence):
                raise
            return f"its run did not answer: {watching.error_message(silence)}"
        return "" if clearance.granted else clearance.reason

    async def _tell(self, run: str, ended: Ended) -> None:
        try:
            await workflow.get_external_workflow_handle(run).signal(wire.MERGE_ENDED, ended)
        except exceptions.ApplicationError as gone:  # a run that is over needs no answer
            workflow.logger.warning("%s could not be told: %s", run, gone)

    def _card(self) -> str:
        state = self._state
        rows = [f"**{state.repo} `{state.branch}`**: {state.merged} merged"]
        if state.current:
            rows.append(f"- now: {state.current.pull} at `{state.current.head_sha[:9]}`")
        rows += [f"- {i}: {e.pull} at `{e.head_sha[:9]}`" for i, e in enumerate(state.entries, 1)]
        return "\n".join(rows)

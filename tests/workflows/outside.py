"""The activities of the fake world: the real wire names and models, in front of `tests.workflows.world`.

Doors between workflows (`Doors`) are the real ones; the world may count them, stop them and make them fail.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio import activity, client

from activities.admission import AdmissionActivities
from domain import checks, errors, merge_queue, refs, run, tasks, wire
from domain.merge_queue import CandidateState, End
from tests.workflows.repository import Conflict, Pull
from tests.workflows.world import GREEN, NONE, PENDING, RED, Host, World, labels_of


class Outside:
    """Every world of one installation, by repository, and the hosts that they share."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = {host.host_id: host for host in hosts}
        self.worlds: dict[refs.Repository, World] = {}

    def world(self, repo: refs.Repository) -> World:
        return self.worlds[repo]

    def of_run(self, workflow_id: str) -> tuple[World, refs.Issue]:
        issue = refs.Issue.from_workflow_id(workflow_id)
        return self.worlds[issue.repo], issue


class Doors(AdmissionActivities):
    def __init__(self, temporal: client.Client, outside: Outside) -> None:
        super().__init__(temporal)
        self._outside = outside

    @activity.defn(name=wire.REQUEST_MERGE)
    async def request_merge(self, request: merge_queue.BuildCandidate) -> tasks.Nothing:
        world, issue = self._outside.of_run(request.entry.run)
        async with world.call(wire.REQUEST_MERGE, issue):
            return await super().request_merge(request)


class ControlActivities:
    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    @activity.defn(name=wire.OPEN_RUN)
    async def open_run(self, request: tasks.OpenRun) -> tasks.Opened:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.OPEN_RUN, request.issue):
            issue = world.forge.issues[request.issue.number]
            return tasks.Opened(
                gone="" if issue.open else "the issue is closed",
                title=issue.title,
                body=issue.body,
                author=issue.author,
                labels=tuple(sorted(issue.labels)),
                policy=world.policy,
                mode=world.mode,
                judge=world.judge,
                backend=world.backend,
                base_branch="main",
                ci_poll_seconds=world.ci_poll_seconds,
                gate_poll_seconds=world.gate_poll_seconds,
            )

    @activity.defn(name=wire.CLAIM_ISSUE)
    async def claim_issue(self, request: tasks.ClaimIssue) -> tasks.Nothing:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.CLAIM_ISSUE, request.issue):
            issue = world.forge.issues[request.issue.number]
            issue.labels = (issue.labels - {wire.LABEL_TRIGGER, *wire.TERMINAL_LABELS}) | {wire.LABEL_IN_PROGRESS}
            issue.status = request.body
            await world.write("claimed", request.issue)
            return tasks.Nothing()

    @activity.defn(name=wire.WATCH_DEPENDENCIES)
    async def watch_dependencies(self, request: tasks.WatchDependencies) -> tasks.Dependencies:
        world = self._outside.world(request.repo)
        async with world.call(wire.WATCH_DEPENDENCIES, request.repo):
            lost = {wire.LABEL_FAILED, wire.LABEL_CANCELLED, wire.LABEL_REJECTED}
            for number in request.numbers:
                issue = world.forge.issues.get(number)
                if issue is None:
                    return tasks.Dependencies(failed=f"it depends on {request.repo}#{number}, which does not exist")
                for label in lost & issue.labels:
                    return tasks.Dependencies(
                        failed=f"it depends on {request.repo}#{number}, which is labelled {label}"
                    )
            if any(world.forge.issues[number].open for number in request.numbers):
                raise errors.NothingNew("still open")
            return tasks.Dependencies()

    @activity.defn(name=wire.PUBLISH_PULL_REQUEST)
    async def publish_pull_request(self, request: tasks.Publish) -> tasks.Published:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.PUBLISH_PULL_REQUEST, request.issue):
            found = world.forge.branches.get(request.branch, "")
            if found != request.head_sha:
                raise errors.HeadMoved("moved", expected_sha=request.head_sha, found_sha=found)
            known = len(world.forge.pulls)
            pull = world.forge.open_pull(request.branch, request.base_branch)
            if len(world.forge.pulls) > known:
                await world.write("pull opened", request.issue)
            world.forge.issues[request.issue.number].status = request.status
            await world.write("pull published", request.issue)
            return tasks.Published(pull=run.PullRequest(number=pull.number, ready=not pull.draft), at=datetime.now(UTC))

    @activity.defn(name=wire.INSPECT_HEAD)
    async def inspect_head(self, request: tasks.InspectHead) -> tasks.Inspection:
        world = self._outside.world(request.repo)
        async with world.call(wire.INSPECT_HEAD, request.pull):
            head = world.forge.head(world.forge.pulls[request.pull.number])
            base = world.forge.merge_base(world.forge.branches[request.base_branch], head)
            changed = world.forge.changed(base, head)
            found = world.findings.popleft() if world.findings else ()
            return tasks.Inspection(
                head_sha=head, base_sha=base, files=tuple(sorted(changed)), added_lines=len(changed), findings=found
            )

    @activity.defn(name=wire.POST_REVIEW)
    async def post_review(self, request: tasks.PostReview) -> tasks.Nothing:
        world = self._outside.world(request.pull.repo)
        async with world.call(wire.POST_REVIEW, request.pull):
            posted = world.forge.pulls[request.pull.number].reviews
            if request.review.head_sha not in posted:
                posted.append(request.review.head_sha)
                await world.write("review posted", request.review.head_sha)
            return tasks.Nothing()

    @activity.defn(name=wire.POLL_CHECKS)
    async def poll_checks(self, request: tasks.PollChecks) -> tasks.PolledChecks:
        asked = request.request
        world = self._outside.world(asked.repo)
        async with world.call(wire.POLL_CHECKS, asked.sha):
            if request.pull is not None:
                facts = _facts(world, None, world.forge.pulls[request.pull.number])
                if not facts.pull_open or facts.head_sha != asked.sha:
                    return tasks.PolledChecks(facts=facts)
            return _polled(world, asked)

    @activity.defn(name=wire.MARK_READY)
    async def mark_ready(self, request: tasks.MarkReady) -> tasks.Nothing:
        world = self._outside.world(request.pull.repo)
        async with world.call(wire.MARK_READY, request.pull):
            if world.forge.pulls[request.pull.number].draft:
                world.forge.pulls[request.pull.number].draft = False
                await world.write("marked ready", request.pull)
            return tasks.Nothing()

    @activity.defn(name=wire.WATCH_GATE)
    async def watch_gate(self, request: tasks.WatchGate) -> tasks.GateFacts:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.WATCH_GATE, request.issue):
            facts = _facts(world, request.issue, world.forge.pulls[request.pull.number])
            if facts.issue_open and facts.pull_open and facts.head_sha == request.head_sha:
                raise errors.NothingNew("as it was")
            return facts

    @activity.defn(name=wire.BUILD_CANDIDATE)
    async def build_candidate(self, request: merge_queue.BuildCandidate) -> merge_queue.Candidate:
        entry = request.entry
        world = self._outside.world(entry.pull.repo)
        async with world.call(wire.BUILD_CANDIDATE, entry.run):
            pull = world.forge.pulls[entry.pull.number]
            if pull.merged:
                return merge_queue.Candidate(state=CandidateState.MERGED, merge_sha=pull.merge_sha)
            if not pull.open:
                return merge_queue.Candidate(state=CandidateState.CLOSED)
            if world.forge.head(pull) != entry.head_sha:
                return merge_queue.Candidate(state=CandidateState.HEAD_MOVED, found_sha=world.forge.head(pull))
            base = world.forge.branches[request.branch]
            if world.forge.holds(entry.head_sha, base):
                return merge_queue.Candidate(state=CandidateState.FRESH, base_sha=base, tested_sha=entry.head_sha)
            try:
                tip = world.forge.merge(base, entry.head_sha)
            except Conflict:
                return merge_queue.Candidate(state=CandidateState.CONFLICT, base_sha=base)
            world.forge.branches[refs.queue_branch(request.branch, entry.pull.number)] = tip
            await world.write("candidate built", entry.run)
            return merge_queue.Candidate(state=CandidateState.TO_TEST, base_sha=base, tested_sha=tip)

    @activity.defn(name=wire.MERGE_CANDIDATE)
    async def merge_candidate(self, request: merge_queue.MergeCandidate) -> merge_queue.Ended:
        entry, candidate = request.entry, request.candidate
        world = self._outside.world(entry.pull.repo)
        if world.pushes_before_merge:
            world.pushes_before_merge.popleft()()
        async with world.call(wire.MERGE_CANDIDATE, entry.run):
            pull = world.forge.pulls[entry.pull.number]
            if pull.merged:
                return merge_queue.Ended(head_sha=entry.head_sha, end=End.MERGED, merge_sha=pull.merge_sha)
            if (head := world.forge.head(pull)) != entry.head_sha:
                return merge_queue.Ended(head_sha=entry.head_sha, end=End.HEAD_MOVED, sentence="moved", found_sha=head)
            if world.forge.branches[request.branch] != candidate.base_sha:
                return merge_queue.Ended(head_sha=entry.head_sha, end=End.BASE_MOVED, sentence="base moved")
            return await self._merge(world, pull, entry.head_sha, request.branch)

    async def _merge(self, world: World, pull: Pull, head: str, branch: str) -> merge_queue.Ended:
        pull.merge_sha = world.forge.branches[branch] = world.forge.merge(world.forge.branches[branch], head)
        pull.merged, pull.open = True, False
        world.forge.branches.pop(refs.queue_branch(branch, pull.number), None)
        await world.write("merged", head)
        return merge_queue.Ended(head_sha=head, end=End.MERGED, merge_sha=pull.merge_sha)

    @activity.defn(name=wire.CLOSE_RUN)
    async def close_run(self, request: tasks.CloseRun) -> tasks.Nothing:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.CLOSE_RUN, request.issue):
            issue = world.forge.issues[request.issue.number]
            issue.labels -= {wire.LABEL_IN_PROGRESS, wire.LABEL_TRIGGER, *wire.TERMINAL_LABELS}
            issue.labels |= {labels_of(request.ending.phase)}
            issue.status = request.status
            await world.write(f"closed as {request.ending.phase}", request.issue)
            if request.ending.phase is run.Phase.DONE:
                issue.open = False
                world.forge.branches.pop(request.branch, None)
            elif request.ending.phase in {run.Phase.CANCELLED, run.Phase.REJECTED} and request.pull:
                pull = world.forge.pulls[request.pull.number]
                if pull.open:
                    pull.open = False
                    await world.write("pull closed", request.pull)
            return tasks.Nothing()


def _facts(world: World, issue: refs.Issue | None, pull: Pull) -> tasks.GateFacts:
    return tasks.GateFacts(
        issue_open=world.forge.issues[issue.number].open if issue else True,
        pull_open=pull.open,
        merged=pull.merged,
        merge_sha=pull.merge_sha,
        head_sha=world.forge.head(pull),
    )


def _polled(world: World, asked: checks.PollRequest) -> tasks.PolledChecks:
    match world.ci_verdict(asked.sha):
        case found if found == PENDING:
            raise errors.ChecksPending(f"CI is running on {asked.sha[:9]}: waiting for test")
        case found if found == NONE:
            if asked.since is None or datetime.now(UTC) - asked.since < timedelta(seconds=asked.registration_seconds):
                raise errors.ChecksPending("no check yet")
            verdict = checks.Verdict(head_sha=asked.sha, result=checks.Result.NONE)
            return tasks.PolledChecks(verdict=verdict)
        case found if found == RED:
            verdict = checks.Verdict(head_sha=asked.sha, result=checks.Result.RED, failed=("test",))
            return tasks.PolledChecks(verdict=verdict, log_tail="E assert 1 == 2")
        case found:
            assert found == GREEN
            verdict = checks.Verdict(head_sha=asked.sha, result=checks.Result.GREEN, passed=("test",))
            return tasks.PolledChecks(verdict=verdict)

"""The activities of the fake world: the real wire names and models, in front of `tests.workflows.world`.

Doors between workflows (`AdmissionActivities`) are the real ones and are not here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity

from domain import agent, checks, errors, merge_queue, refs, review, run, tasks, triage, wire, work
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
                backend="scripted",
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


class AgentsActivities:
    """What any agent host answers: claims and judgements."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    @activity.defn(name=wire.CLAIM_HOST)
    async def claim_host(self, request: work.ClaimHost) -> work.HostLease:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.CLAIM_HOST, issue):
            held = world.host_of(request.run)
            free = [h for h in world.hosts.values() if len(h.leases) < h.slots and h.host_id != request.avoid_host]
            if held is None or held.host_id == request.avoid_host:
                if not free:
                    raise errors.HostFull("full", retry_after=timedelta(seconds=0.2))
                held = free[0]
            held.leases[request.run] = request.backend
            return work.HostLease(host_id=held.host_id, queue=refs.host_queue(held.host_id))

    @activity.defn(name=wire.JUDGE_TRIAGE)
    async def judge_triage(self, request: tasks.JudgeTriage) -> triage.Advice:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.JUDGE_TRIAGE, request.issue):
            return triage.Advice(priority=2, reason="it looks urgent")

    @activity.defn(name=wire.JUDGE_REVIEW)
    async def judge_review(self, request: tasks.JudgeReview) -> review.Review:
        world = self._outside.world(request.issue.repo)
        async with world.call(wire.JUDGE_REVIEW, request.issue):
            blocking = world.verdicts.popleft() if world.verdicts else ()
            return review.from_advice(request.head_sha, review.Advice(blocking=blocking), by="model")


class HostActivities:
    """What one host's own queue does."""

    def __init__(self, outside: Outside, host: Host) -> None:
        self._outside = outside
        self._host = host

    @activity.defn(name=wire.PREPARE_WORKTREE)
    async def prepare_worktree(self, request: work.PrepareWorktree) -> work.Worktree:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.PREPARE_WORKTREE, issue):
            tip = world.forge.branches["main"]
            head = self._host.worktrees.get(request.run) or world.forge.branches.get(request.branch, tip)
            self._host.worktrees[request.run] = tip if request.start_fresh else head
            return work.Worktree(path="worktree", base_sha=tip, head_sha=head, base_tip_sha=tip)

    @activity.defn(name=wire.RUN_AGENT)
    async def run_agent(self, request: agent.TurnRequest) -> agent.TurnResult:
        world, issue = self._outside.of_run(request.run)
        world.turn_requests.append(request)
        world.live.add(request.run)
        try:
            async with world.call(wire.RUN_AGENT, issue):
                turn = world.next_turn(issue)
                if turn.error:
                    raise turn.error
                files = {f"issue-{issue.number}.py": f"turn {request.round}"} if turn.files is None else turn.files
                if files and not turn.refuses:
                    self._commit(world, request, files)
                outcome = agent.Outcome.REFUSED if turn.refuses else agent.Outcome.FINISHED
                return agent.TurnResult(outcome=outcome, session=request.session, summary=f"turn {request.round} done")
        finally:
            world.live.discard(request.run)

    def _commit(self, world: World, request: agent.TurnRequest, files: Any) -> None:
        """A conflict is resolved as agents do it: by a merge of the base that keeps both."""
        forge, at = world.forge, self._host.worktrees[request.run]
        parents: tuple[str, ...] = (at,)
        tree = dict(forge.commits[at].tree)
        if request.brief and request.brief.reason == run.Reason.CONFLICT:
            base = forge.branches["main"]
            parents, tree = (at, base), {**tree, **forge.commits[base].tree}
        self._host.worktrees[request.run] = forge.commit(parents, {**tree, **files})

    @activity.defn(name=wire.INTEGRATE_WORK)
    async def integrate_work(self, request: work.IntegrateWork) -> work.Integration:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.INTEGRATE_WORK, issue):
            forge, head = world.forge, self._host.worktrees[request.run]
            base = forge.merge_base(forge.branches[request.base_branch], head)
            if head == base or head == request.expected_remote_sha:
                return work.Integration(outcome=work.IntegrationOutcome.NO_CHANGES)
            if world.findings and (found := world.findings.popleft()):
                return work.Integration(outcome=work.IntegrationOutcome.UNSAFE, findings=found)
            remote = forge.branches.get(request.branch, "")
            if remote != request.expected_remote_sha and remote != head and not forge.holds(head, remote or head):
                raise errors.RefMoved(f"{request.branch} is at {remote}")
            if remote != head:
                forge.branches[request.branch] = head
                await world.write("pushed", request.run)
            changed = forge.changed(base, head)
            return work.Integration(
                outcome=work.IntegrationOutcome.PUSHED,
                head_sha=head,
                base_sha=base,
                files=tuple(sorted(changed)),
                added_lines=len(changed),
            )

    @activity.defn(name=wire.VERIFY_COMMIT)
    async def verify_commit(self, request: work.VerifyCommit) -> work.Verification:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.VERIFY_COMMIT, issue):
            passed = world.verifies.popleft() if world.verifies else True
            return work.Verification(passed=passed, exit_code=0 if passed else 1, tail="" if passed else "1 failed")

    @activity.defn(name=wire.RELEASE_HOST)
    async def release_host(self, request: work.ReleaseHost) -> None:
        world, issue = self._outside.of_run(request.run)
        async with world.call(wire.RELEASE_HOST, issue):
            self._host.leases.pop(request.run, None)
            if request.remove_worktree:
                self._host.worktrees.pop(request.run, None)
